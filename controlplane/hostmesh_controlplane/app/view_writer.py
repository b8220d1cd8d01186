"""Keeps the last view of every source in the store; only what changed is written."""

import asyncio
import logging

from hostmesh_controlplane.logic.source_views import (
    StoredSource,
    StoredView,
    source_key,
    split_key,
    view_key,
)
from hostmesh_controlplane.logic.store import Conflict, Record, Store, Table
from hostmesh_core.errors import Unreachable

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0


class ViewWriter:
    """Writes behind: a change is in force before it is stored, and later ones replace it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Record] = {}
        self._wanted: dict[str, bytes | None] = {}
        self._something = asyncio.Event()

    async def load(self) -> dict[str, tuple[dict[str, StoredView], StoredSource | None]]:
        """Give, per source, its services by host, and what is remembered of the source itself."""
        found: dict[str, tuple[dict[str, StoredView], StoredSource | None]] = {}
        for record in await self._store.list(Table.SOURCES):
            self._known[record.key] = record
            source, host = split_key(record.key)
            views, remembered = found.setdefault(source, ({}, None))
            if host:
                views[host] = StoredView.from_bytes(record.value)
            else:
                remembered = StoredSource.from_bytes(record.value)
            found[source] = (views, remembered)
        return found

    def put(self, source: str, host: str, view: StoredView | None) -> None:
        """Have a service stored; None = dropped."""
        self._want(view_key(source, host), view.to_bytes() if view else None)

    def put_source(self, source: str, remembered: StoredSource) -> None:
        """Have what is remembered of a source stored."""
        self._want(source_key(source), remembered.to_bytes())

    async def run(self) -> None:
        """Write for ever; what is still to be written when it ends is written then."""
        try:
            while True:
                await self._something.wait()
                try:
                    await self.flush()
                except Unreachable as error:
                    log.warning("cannot store source views, trying again reason=%s", error)
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            try:
                await self.flush()
            except Unreachable as error:
                log.warning("cannot store source views before the end reason=%s", error)

    async def flush(self) -> None:
        """Write all that is wanted by now. Raises Unreachable; the rest stays wanted then."""
        while self._wanted:
            key, value = next(iter(self._wanted.items()))
            await self._write(key, value)
            if self._wanted.get(key) == value:
                self._wanted.pop(key, None)
        self._something.clear()

    def _want(self, key: str, value: bytes | None) -> None:
        known = self._known.get(key)
        if key not in self._wanted and value == (known.value if known else None):
            return
        self._wanted[key] = value
        self._something.set()

    async def _write(self, key: str, value: bytes | None) -> None:
        """Write one record; where somebody else wrote first, his is replaced."""
        known = self._known.get(key)
        version = known.version if known else 0
        try:
            await self._write_at(key, value, version)
        except Conflict:
            current = await self._store.get(Table.SOURCES, key)
            await self._write_at(key, value, current.version if current else 0)

    async def _write_at(self, key: str, value: bytes | None, version: int) -> None:
        if value is not None:
            self._known[key] = await self._store.put_if(Table.SOURCES, key, value, version=version)
        elif version:
            await self._store.delete_if(Table.SOURCES, key, version=version)
            self._known.pop(key, None)
