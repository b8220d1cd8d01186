"""The store interface in memory: the same suite as SQLite's holds it to the same behaviour."""

import asyncio
from collections.abc import AsyncIterator

from hostmesh_controlplane.logic.store import Conflict, Record, Table


class _Watch(AsyncIterator[Record | str]):
    def __init__(self) -> None:
        self.changes: asyncio.Queue[Record | str] = asyncio.Queue()

    async def __anext__(self) -> Record | str:
        return await self.changes.get()


class MemoryStore:
    """Every record in a dict. `fail` makes the next operations raise it; a write waits for `gate`,
    where there is one, and says by `entered` that it does.
    """

    def __init__(self) -> None:
        self._records: dict[tuple[Table, str], Record] = {}
        self._version = 0
        self._watches: list[tuple[Table, _Watch]] = []
        self.fail: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()

    async def get(self, table: Table, key: str) -> Record | None:
        await self._hop()
        return self._records.get((table, key))

    async def list(self, table: Table) -> list[Record]:
        await self._hop()
        return [self._records[at] for at in sorted(self._records) if at[0] is table]

    def watch(self, table: Table) -> AsyncIterator[Record | str]:
        watch = _Watch()
        self._watches.append((table, watch))
        return watch

    async def put_if(self, table: Table, key: str, value: bytes, *, version: int) -> Record:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        await self._hop()
        self._expect(table, key, version)
        self._version += 1
        record = Record(key, value, self._version)
        self._records[table, key] = record
        self._announce(table, record)
        return record

    async def delete_if(self, table: Table, key: str, *, version: int) -> None:
        await self._hop()
        self._expect(table, key, version)
        del self._records[table, key]
        self._announce(table, key)

    async def _hop(self) -> None:
        """Let others run in between, as a real backend does."""
        await asyncio.sleep(0)
        if self.fail is not None:
            raise self.fail

    def _expect(self, table: Table, key: str, version: int) -> None:
        found = self._records.get((table, key))
        if (found.version if found else 0) != version or (found is None and version != 0):
            raise Conflict(f"{table}/{key}")

    def _announce(self, table: Table, change: Record | str) -> None:
        for watched, watch in self._watches:
            if watched is table:
                watch.changes.put_nowait(change)
