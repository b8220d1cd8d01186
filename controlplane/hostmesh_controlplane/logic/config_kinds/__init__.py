"""Istio's configuration kinds at the border: parse, validate, and say what is wrong where."""
