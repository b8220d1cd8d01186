"""Writes registrations to the store behind the streams: the newest one of each host, in the end.

A registration counts when the registry has decided it. The store only serves the next start, so
nobody waits for it, except a host that leaves.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from hostmesh_controlplane.logic.store import Conflict, Store, Table
from hostmesh_core.errors import HostmeshError

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class RegistrationStore:
    """Latest value wins; an unreachable store is tried again for ever."""

    def __init__(self, store: Store, *, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._store = store
        self._sleep = sleep
        self._wanted: dict[str, bytes | None] = {}
        self._versions: dict[str, int] = {}
        self._writing = ""
        """The host that is being written: it has a record soon, whatever is known of one."""
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def load(self) -> list[tuple[str, bytes]]:
        """Give all that is stored, by host id."""
        records = await self._store.list(Table.REGISTRATIONS)
        self._versions = {record.key: record.version for record in records}
        return [(record.key, record.value) for record in records]

    def put(self, host_id: str, value: bytes | None) -> None:
        """Store soon; None deletes."""
        known = host_id in self._versions or host_id in self._wanted or host_id == self._writing
        if value is None and not known:
            return
        self._wanted[host_id] = value
        self._idle.clear()
        self._wake.set()

    async def flushed(self) -> None:
        """Wait until everything put so far is stored."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._wanted:
                await self.write_one()
            self._idle.set()

    async def write_one(self) -> None:
        """Write the host that waits longest."""
        host_id = next(iter(self._wanted))
        value = self._wanted.pop(host_id)
        self._writing = host_id
        try:
            await self._write(host_id, value)
        except Conflict:
            found = await self._store.get(Table.REGISTRATIONS, host_id)
            self._versions[host_id] = found.version if found else 0
            self._wanted.setdefault(host_id, value)
        except HostmeshError as error:
            self._wanted.setdefault(host_id, value)
            log.warning("registration not stored host=%s error=%s", host_id, error)
            await self._sleep(RETRY_SECONDS)
        finally:
            self._writing = ""

    async def _write(self, host_id: str, value: bytes | None) -> None:
        version = self._versions.get(host_id, 0)
        if value is not None:
            stored = await self._store.put_if(Table.REGISTRATIONS, host_id, value, version=version)
            self._versions[host_id] = stored.version
        elif version:
            await self._store.delete_if(Table.REGISTRATIONS, host_id, version=version)
            self._versions.pop(host_id, None)
