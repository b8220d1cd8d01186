"""Catalogs whose facts a test makes up itself, and what they pass on."""

import asyncio
from dataclasses import dataclass, field

from hostmesh_controlplane.app.catalogs import Catalogs
from hostmesh_controlplane.config import Source
from hostmesh_controlplane.edges.clock import SystemClock
from hostmesh_controlplane.events.catalogs import (
    ConsulFacts,
    ConsulSentinel,
    ConsulService,
    SourceSynced,
)
from hostmesh_controlplane.logic.catalog import CatalogService, SourceChanged, SourceEvent
from hostmesh_controlplane.logic.store import Table
from hostmesh_testing.catalogs import REVIEWS
from hostmesh_testing.fake_consul import instances
from hostmesh_testing.memory_store import MemoryStore


@dataclass
class Played:
    """Catalogs whose facts the test makes up itself."""

    sources: tuple[Source, ...]
    store: MemoryStore = field(default_factory=MemoryStore)
    passed: dict[tuple[str, str], CatalogService | None] = field(default_factory=dict)
    events: list[SourceEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.catalogs = Catalogs(
            self.sources,
            mesh_domain="mesh.internal",
            store=self.store,
            clock=SystemClock(),
            on_event=self._take,
        )

    def _take(self, event: SourceEvent) -> None:
        self.events.append(event)
        if isinstance(event, SourceChanged):
            self.passed[event.source, event.host] = event.service

    def consul(self, count: int, *, index: int, sentinel: int | None = 3) -> None:
        """Consul lists so many instances of reviews."""
        listed = tuple(instances(range(count)))
        fact = ConsulService("dc1", "reviews", listed, ConsulFacts(index), sentinel)
        self.catalogs.take("dc1", fact)

    def healthy(self, source: str = "dc1") -> None:
        """The source answers in full."""
        if source == "dc1":
            self.catalogs.take(source, ConsulSentinel(source, 3))
        self.catalogs.take(source, SourceSynced(source))

    def count(self, source: str = "dc1") -> int:
        listing = self.passed.get((source, REVIEWS))
        return len(listing.endpoints) if listing else 0

    def synced(self) -> bool:
        return self.catalogs.synced

    async def until_synced(self) -> None:
        async with asyncio.timeout(10):
            for _ in range(1000):
                if self.catalogs.synced:
                    return
                await asyncio.sleep(0.01)

    def detail(self, source: str = "dc1") -> str:
        return {s.source: s.detail for s in self.catalogs.statuses()}[source]

    def stored(self) -> dict[str, bytes]:
        """Write what is to be written, and give it."""

        async def flush() -> dict[str, bytes]:
            await self.catalogs.flush()
            return {r.key: r.value for r in await self.store.list(Table.SOURCES)}

        return asyncio.run(flush())

    def again(self) -> "Played":
        """Restart on the same store."""
        self.stored()
        restarted = Played(self.sources, self.store)
        asyncio.run(restarted.catalogs.load())
        return restarted
