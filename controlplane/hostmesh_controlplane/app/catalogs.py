"""Every catalog while it runs (DESIGN 5): reads, holds, stores, and passes on what changed.

Facts of the edges come in; `SourceChanged` and `SourceStatus` go out, in that order for one
answer, to whoever merges. A source that was read before a restart is loaded first, so that a
control plane that comes back while Consul is down serves what it served.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from hostmesh_controlplane.app.source_reader import ConsulReader, Reader, StaticReader
from hostmesh_controlplane.app.view_writer import ViewWriter
from hostmesh_controlplane.config import ConsulSource, Source
from hostmesh_controlplane.events.catalogs import (
    CatalogFact,
    SourceAway,
    SourceBack,
    SourceSynced,
)
from hostmesh_controlplane.logic import sightings
from hostmesh_controlplane.logic.catalog import (
    CatalogService,
    SourceChanged,
    SourceEvent,
    SourceStatus,
)
from hostmesh_controlplane.logic.source_views import StoredSource
from hostmesh_controlplane.logic.store import Store
from hostmesh_core.documents import did_you_mean
from hostmesh_core.errors import BadInput
from hostmesh_core.ids import EndpointKey

log = logging.getLogger(__name__)

SHOWN_REMARKS = 5
"""How many of a source's remarks its status shows; the log has all."""
_NOT_READ = "not read yet"


class Clock(Protocol):
    """What this asks of the clock."""

    def wall(self) -> float:
        """Give seconds since the epoch."""

    def monotonic(self) -> float:
        """Give seconds that never jump."""


@dataclass(slots=True)
class _Running:
    """One configured source."""

    config: Source
    reader: Reader
    away: str = _NOT_READ
    """Why it does not answer; empty = it does."""
    since: float | None = None
    """Wall clock: how long what is passed on may be out of date; None = it is not."""
    loaded: bool = False
    answered: bool = False
    told: SourceStatus | None = None
    remarked: frozenset[str] = frozenset()
    passed: dict[str, CatalogService] = field(default_factory=dict)
    """What was passed on last, by host."""

    def seen(self, change: SourceChanged, now: float) -> SourceChanged:
        """Note since when each endpoint is listed."""
        if change.service is None:
            self.passed.pop(change.host, None)
            return change
        known = self.passed.get(change.host)
        service = sightings.seen(known, change.service, now=now)
        self.passed[change.host] = service
        return replace(change, service=service)

    @property
    def reason(self) -> str:
        """Why what it passes on may not be the truth; empty = it is."""
        return self.away or self.reader.blind


class Catalogs:
    """All configured sources. `load` first, then `run`."""

    def __init__(
        self,
        sources: Iterable[Source],
        *,
        mesh_domain: str,
        store: Store,
        clock: Clock,
        on_event: Callable[[SourceEvent], None],
        virtual_ranges: tuple[str, ...] = (),
    ) -> None:
        """Raises BadInput where a source cannot be read whatever happens."""
        self._sources = {
            source.name: _Running(source, _reader(source, mesh_domain, virtual_ranges))
            for source in sources
        }
        self._writer = ViewWriter(store)
        self._clock = clock
        self._on_event = on_event

    async def load(self) -> None:
        """Pass on the stored view of every source, before any of them is asked."""
        stored = await self._writer.load()
        for name, running in self._sources.items():
            running.since = self._clock.wall()
            views, remembered = stored.get(name, ({}, None))
            running.loaded = remembered is not None
            running.reader.load(views, remembered or StoredSource())
            for host, view in views.items():
                running.passed[host] = view.service
                self._on_event(SourceChanged(name, host, view.service))
            self._tell_status(name, running)
        for name in stored.keys() - self._sources.keys():
            for host in stored[name][0]:
                self._writer.put(name, host, None)

    async def run(self) -> None:
        """Read every source for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._writer.run())
            for name, running in self._sources.items():
                tasks.create_task(running.reader.run(partial(self.take, name)))

    async def flush(self) -> None:
        """Store what is not stored yet; `run` does it all the time, and when it is cancelled."""
        await self._writer.flush()

    def take(self, name: str, fact: CatalogFact) -> None:
        """Take in one fact of a source."""
        running = self._sources[name]
        changes = running.reader.take(fact, self._clock.monotonic())
        match fact:
            case SourceAway(reason=reason):
                running.away = reason
            case SourceBack():
                running.away = ""
            case SourceSynced():
                running.away, running.answered = "", True
                log.info("source read completely source=%s", name)
            case _:
                pass
        self._pass_on(name, running, changes)

    def accept(self, source: str) -> int:
        """Believe a source and release what is held of it; gives how many endpoints.

        Raises BadInput for an unknown source.
        """
        running = self._sources.get(source)
        if running is None:
            hint = did_you_mean(source, self._sources)
            raise BadInput(f"cannot find source {source}{hint}")
        released = running.reader.held
        self._pass_on(source, running, running.reader.accept())
        return released

    def left_registry(self, keys: Iterable[EndpointKey]) -> None:
        """Take in that keys left our own registry in order: catalogs may drop them as well."""
        left = tuple(keys)
        for running in self._sources.values():
            running.reader.left_registry(left, self._clock.monotonic())

    def statuses(self) -> list[SourceStatus]:
        """Give how each source is, in the order of the configuration."""
        return [self._status(name, running) for name, running in self._sources.items()]

    def remarks(self) -> dict[str, tuple[str, ...]]:
        """Give, per source, sentences about what of it cannot be used."""
        return {name: running.reader.remarks for name, running in self._sources.items()}

    @property
    def synced(self) -> bool:
        """Whether every source has answered, or its stored view is loaded."""
        return all(running.answered or running.loaded for running in self._sources.values())

    def _pass_on(self, name: str, running: _Running, changes: Iterable[SourceChanged]) -> None:
        now = self._clock.wall()
        for change in (running.seen(each, now) for each in changes):
            service = change.service
            view = running.reader.stored(service) if service else None
            self._writer.put(name, change.host, view)
            self._on_event(change)
        if running.answered:
            self._writer.put_source(name, running.reader.remembered)
        if not running.reason:
            running.since = None
        elif running.since is None:
            running.since = self._clock.wall()
        self._tell_status(name, running)

    def _tell_status(self, name: str, running: _Running) -> None:
        remarks = running.reader.remarks
        for remark in remarks:
            if remark not in running.remarked:
                log.warning("source remark source=%s remark=%s", name, remark)
        running.remarked = frozenset(remarks)
        status = self._status(name, running)
        if status == running.told:
            return
        running.told = status
        # Before its first answer a source is not in trouble: every start passes through that.
        well = status.healthy or running.away == _NOT_READ
        said = log.info if well and not status.held else log.warning
        said("source status source=%s healthy=%s detail=%s", name, status.healthy, status.detail)
        self._on_event(status)

    def _status(self, name: str, running: _Running) -> SourceStatus:
        return SourceStatus(
            source=name,
            kind=running.config.kind,
            healthy=not running.reason,
            detail=_detail(name, running),
            synced=running.answered or running.loaded,
            held=running.reader.held,
        )


def _detail(name: str, running: _Running) -> str:
    """Say how the source is in one sentence or several."""
    said: list[str] = []
    if running.reason:
        since = datetime.fromtimestamp(running.since or 0, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        said.append(f"stale since {since}: {running.reason}")
    held = running.reader.held
    if held:
        what = "1 endpoint" if held == 1 else f"{held} endpoints"
        said.append(
            f"holding {what} that it lists no more; if gone for good: hostmesh source accept {name}"
        )
    remarks = running.reader.remarks
    said += remarks[:SHOWN_REMARKS]
    if len(remarks) > SHOWN_REMARKS:
        said.append(f"and {len(remarks) - SHOWN_REMARKS} more remarks, in the log")
    return "; ".join(said)


def _reader(source: Source, mesh_domain: str, virtual_ranges: tuple[str, ...]) -> Reader:
    if isinstance(source, ConsulSource):
        return ConsulReader(source, mesh_domain=mesh_domain, virtual_ranges=virtual_ranges)
    return StaticReader(source, mesh_domain=mesh_domain)
