"""`run --all` without systemd: starts and keeps the other processes. Standard library only."""
