"""The shell of the agent: the only place that sees both `edges` and `logic`."""
