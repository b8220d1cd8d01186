"""`run --all`: the agent's processes without systemd."""


def main() -> None:
    """Run all."""
