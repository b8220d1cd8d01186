"""Who of the watches may ask when: a flood of services must not make the others wait.

The agent allows about 200 connections per client address, so where more services are watched they
take turns. Those that were watched first have a lane of their own: whoever fills the catalog with
names makes the later lane slow, and nobody else.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from hostmesh_controlplane.edges import consul_index
from hostmesh_controlplane.edges.consul_index import TokenBucket

SLOTS = (120, 56)
"""Blocking queries at once, of the first lane and of the later one; names and pulse have
connections of their own beside them."""

FIRST = 1_000
"""As many of the services that are there at the start are in the first lane: with short waits a
round of them takes ten seconds. Later ones come into it while nobody has to take turns for them."""

PER_SECOND = (200, 50)
"""Queries, once everything was read: an answer costs about a millisecond."""

NEW_BURST = 500
NEW_SECONDS = 5.0
"""New names at once, and then one each five seconds, once everything was read: each costs every
host a cluster, and a virtual address for good."""


class Lane:
    """One of the two."""

    def __init__(self, slots: int, per_second: int) -> None:
        self._slots = slots
        self._free = asyncio.Semaphore(slots)
        self._bucket = TokenBucket(burst=per_second, refill_seconds=1 / per_second)
        self.watches = 0

    @asynccontextmanager
    async def turn(self, *, limited: bool) -> AsyncIterator[None]:
        """Wait for a turn, and have it until left."""
        if limited:
            await asyncio.sleep(self._bucket.take(asyncio.get_running_loop().time()))
        async with self._free:
            yield

    def wait(self, wanted: float) -> float:
        """Give how long a query may block."""
        return consul_index.fair_wait(wanted, watches=self.watches, slots=self._slots)


class Lanes:
    """Both. A service keeps its lane while it is watched."""

    def __init__(self) -> None:
        self._lanes = tuple(map(Lane, SLOTS, PER_SECOND))

    def enter(self, *, synced: bool) -> Lane:
        """Give a new watch its lane. `synced`: all that was there at the start is watched."""
        first, later = self._lanes
        room = SLOTS[0] if synced else FIRST
        lane = first if first.watches < room else later
        lane.watches += 1
        return lane


class Admission:
    """Which names are watched at all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bucket = TokenBucket(burst=NEW_BURST, refill_seconds=NEW_SECONDS)

    def admitted(
        self, names: Iterable[str], *, watched: Iterable[str], synced: bool, now: float
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Give the new names to watch and those that are left out. Watched ones stay."""
        known = set(watched)
        new = sorted(set(names) - known)
        room = max(0, self._most - len(known))
        if synced:
            room = self._bucket.up_to(min(room, len(new)), now)
        return tuple(new[:room]), tuple(new[room:])
