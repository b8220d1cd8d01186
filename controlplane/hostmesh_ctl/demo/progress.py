"""What the demo says while it goes on: one line for every step, with the time."""

import time

import click


class Progress:
    """Prints steps with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Give how long it has gone on."""
        return time.monotonic() - self._began

    def step(self, text: str) -> None:
        """Say what has been done."""
        click.echo(f"[{self.seconds:5.1f} s] {text}")

    def detail(self, text: str) -> None:
        """Show what belongs to the last step, each line of it."""
        for line in text.rstrip().splitlines():
            click.echo(f"          {line}")
