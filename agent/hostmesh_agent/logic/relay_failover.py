"""Which control plane to try next, and when."""

from collections.abc import Sequence

from hostmesh_core.backoff import next_delay

FIRST_SECONDS = 0.2
LIMIT_SECONDS = 5.0


class Failover:
    """Goes round the list: the others at once, then again after a growing pause."""

    def __init__(self, addresses: Sequence[str], *, start: int = 0) -> None:
        """Begin with the address at `start`, any number; agents that differ in it spread out."""
        if not addresses:
            raise ValueError("cannot connect: no control plane is configured")
        self._addresses = tuple(addresses)
        self._next = start % len(addresses)
        self._failed = 0
        self._delay = 0.0

    @property
    def address(self) -> str:
        """The one to try now."""
        return self._addresses[self._next]

    def connected(self) -> None:
        """Note that it took the stream."""
        self._failed = 0
        self._delay = 0.0

    def failed(self, jitter: float) -> float:
        """Go on to the next; give the seconds to wait before it. `jitter` is in 0..1.

        A lost stream counts like a refused one: that control plane may be going away.
        """
        self._next = (self._next + 1) % len(self._addresses)
        self._failed += 1
        if self._failed < len(self._addresses):
            return 0.0
        self._failed = 0
        self._delay = next_delay(self._delay, first=FIRST_SECONDS, factor=2.0, limit=LIMIT_SECONDS)
        return self._delay * (0.5 + jitter / 2)
