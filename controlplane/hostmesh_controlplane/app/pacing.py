"""Leading edge, then coalesce: a lone change goes out at once, a storm goes out in batches.

The pause after a flush grows with what the flush cost, so that pushing never takes more than a
fixed share of the processor however fast the changes come.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

Names = Mapping[str, Collection[str]]
"""Type URL -> resource names."""

QUIET_SECONDS = 0.02
COST_FACTOR = 3.0
"""Pause of three times the last flush's cost: at most a quarter of the time goes to pushing."""
LONGEST_SECONDS = 1.0


class Coalescer:
    """Collects names and flushes them, at once after a quiet time, else when the pause is over."""

    def __init__(self, flush: Callable[[Names], None]) -> None:
        self._flush = flush
        self._waiting: dict[str, set[str]] = {}
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, names: Names) -> None:
        """Take names whose content may have changed."""
        for type_url, changed in names.items():
            self._waiting.setdefault(type_url, set()).update(changed)
        if self._timer is not None or not self._waiting:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._free_at:
            self._now()
        else:
            self._timer = loop.call_at(self._free_at, self._now)

    def flush(self) -> None:
        """Send what waits, pause or not: somebody waits for it to arrive."""
        if self._timer is not None:
            self._timer.cancel()
            self._now()

    def _now(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        began = time.monotonic()
        self._flush(waiting)
        cost = time.monotonic() - began
        pause = min(max(QUIET_SECONDS, cost * COST_FACTOR), LONGEST_SECONDS)
        self._free_at = asyncio.get_running_loop().time() + pause
