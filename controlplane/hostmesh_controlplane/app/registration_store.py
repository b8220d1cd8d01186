"""Writes registrations to the store behind the streams: the newest one of each host, in the end.

Of what a host holds anew nobody is told before it is stored (`places`); nothing else waits for the
store, except a host that leaves.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Set
from itertools import islice
from typing import NamedTuple

from hostmesh_controlplane.logic.store import Conflict, Store, Table
from hostmesh_controlplane.logic.stored_places import Place
from hostmesh_core.errors import HostmeshError

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0

AT_ONCE = 64
"""Hosts that are written at once: the store commits what comes together with one sync."""


class _Wanted(NamedTuple):
    value: bytes | None
    places: frozenset[Place]


class RegistrationStore:
    """Latest value wins; an unreachable store is tried again for ever."""

    def __init__(self, store: Store, *, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._store = store
        self._sleep = sleep
        self._wanted: dict[str, _Wanted] = {}
        self._writing: dict[str, _Wanted] = {}
        """What is on its way: these have a record soon, whatever is known of one."""
        self._versions: dict[str, int] = {}
        self._places: dict[str, frozenset[Place]] = {}
        self._written: dict[str, asyncio.Event] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.on_stored: Callable[[str], None] = lambda _: None
        """Told of each host that was written."""
        self.trouble = ""
        """Why the store does not take what it was last given; empty while it does."""

    async def load(self) -> list[tuple[str, bytes]]:
        """Give all that is stored, by host id."""
        records = await self._store.list(Table.REGISTRATIONS)
        self._versions = {record.key: record.version for record in records}
        return [(record.key, record.value) for record in records]

    def places(self, host_id: str) -> frozenset[Place]:
        """Give what of a host is stored now and stays so by all that was put since."""
        return self._places.get(host_id, frozenset())

    def loaded(self, host_id: str, places: frozenset[Place]) -> None:
        """Take which places a host's loaded record has come to."""
        self._places[host_id] = places

    def put(self, host_id: str, value: bytes | None, places: Set[Place] = frozenset()) -> None:
        """Store soon; None deletes. `places`: what the value would be restored to."""
        known = (self._versions, self._wanted, self._writing)
        if value is None and not any(host_id in each for each in known):
            return
        wanted = _Wanted(value, frozenset(places))
        self._narrow(host_id, self.places(host_id), wanted)
        self._wanted[host_id] = wanted
        self._written.setdefault(host_id, asyncio.Event())
        self._idle.clear()
        self._wake.set()

    async def written(self, host_id: str) -> None:
        """Wait until what was put of a host is stored and `on_stored` was told."""
        event = self._written.get(host_id)
        if event is not None:
            await event.wait()

    async def flushed(self) -> None:
        """Wait until everything put so far is stored."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted:
                if not await self.write_some():
                    await self._sleep(RETRY_SECONDS)
            self._idle.set()

    async def write_some(self) -> bool:
        """Write the hosts that wait longest, once; False = not all of them are stored."""
        self._writing = dict(islice(self._wanted.items(), AT_ONCE))
        for host_id in self._writing:
            del self._wanted[host_id]
        async with asyncio.TaskGroup() as tasks:
            begun = [
                tasks.create_task(self._write_one(host_id, wanted))
                for host_id, wanted in self._writing.items()
            ]
        return all(task.result() for task in begun)

    async def _write_one(self, host_id: str, wanted: _Wanted) -> bool:
        try:
            await self._write(host_id, wanted.value)
        except (HostmeshError, Conflict) as error:
            self.trouble = str(error)
            log.warning("registration not stored host=%s error=%s", host_id, error)
            self._wanted.setdefault(host_id, wanted)
            return False
        finally:
            del self._writing[host_id]
        self.trouble = ""
        self._narrow(host_id, wanted.places, self._wanted.get(host_id, wanted))
        self.on_stored(host_id)
        if host_id not in self._wanted:
            self._written.pop(host_id).set()
        return True

    async def _write(self, host_id: str, value: bytes | None) -> None:
        """Write over whatever is there: this replica holds the host's lease."""
        try:
            await self._write_if(host_id, value)
        except Conflict:
            found = await self._store.get(Table.REGISTRATIONS, host_id)
            self._versions[host_id] = found.version if found else 0
            await self._write_if(host_id, value)

    async def _write_if(self, host_id: str, value: bytes | None) -> None:
        version = self._versions.get(host_id, 0)
        if value is not None:
            stored = await self._store.put_if(Table.REGISTRATIONS, host_id, value, version=version)
            self._versions[host_id] = stored.version
            return
        if version:
            await self._store.delete_if(Table.REGISTRATIONS, host_id, version=version)
        self._versions.pop(host_id, None)

    def _narrow(self, host_id: str, stored: frozenset[Place], wanted: _Wanted) -> None:
        """Keep what is stored and still is when `wanted` is written, too."""
        self._places[host_id] = stored & wanted.places
        if not self._places[host_id]:
            del self._places[host_id]
