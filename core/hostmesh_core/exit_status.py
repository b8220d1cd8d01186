"""Exit statuses that one of our processes reads from another. Everybody else sees 0, 1 or 2."""

FAILED = 1
BAD_INPUT = 2
LEFT = 3
"""The agent: this host has left the mesh, do not start me again."""
