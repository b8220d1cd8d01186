"""The shell of the control plane: the only place that sees both `edges` and `logic`."""
