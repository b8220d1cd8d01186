"""Waiting in tests of real processes: on a condition, never on a guess of how long it takes."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], *, seconds: float = 10.0, what: str = "") -> None:
    """Poll until `condition` holds; fail after `seconds` with `what` was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what or 'it'} did not come true in {seconds:g} s"
        time.sleep(0.02)
