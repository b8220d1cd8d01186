"""Istio's kinds as documents: parse and validate."""
