"""One source while it runs: the edge that reads it, and what its facts come to."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from hostmesh_controlplane.config import ConsulSource, StaticSource
from hostmesh_controlplane.edges.consul_transport import ConsulAgent, ConsulClient
from hostmesh_controlplane.edges.consul_watch import ConsulWatch, WatchRules
from hostmesh_controlplane.edges.static_files import StaticFiles
from hostmesh_controlplane.events.catalogs import (
    CatalogFact,
    ConsulNames,
    ConsulSentinel,
    ConsulService,
    ConsulUnread,
    FilesRead,
    FileText,
)
from hostmesh_controlplane.logic import (
    consul_catalog,
    holds,
    listed_addresses,
    source_limits,
    static_catalog,
)
from hostmesh_controlplane.logic.catalog import CatalogService, SourceChanged
from hostmesh_controlplane.logic.consul_catalog import ConsulMapping
from hostmesh_controlplane.logic.holds import HoldRules, Holds
from hostmesh_controlplane.logic.source_limits import Remarks
from hostmesh_controlplane.logic.source_views import StoredSource, StoredView
from hostmesh_controlplane.logic.static_catalog import ParsedFile, StaticCatalog
from hostmesh_core import names
from hostmesh_core.errors import BadInput
from hostmesh_core.ids import EndpointKey

Emit = Callable[[CatalogFact], None]


class Reader(Protocol):
    """What `Catalogs` asks of a source of any kind."""

    def load(self, views: Mapping[str, StoredView], remembered: StoredSource) -> None:
        """Take in what was stored, before the source is read."""

    async def run(self, emit: Emit) -> None:
        """Read the source for ever."""

    def take(self, fact: CatalogFact, now: float) -> list[SourceChanged]:
        """Take in a fact; give what to pass on. `now` is monotonic, in seconds."""

    def accept(self) -> list[SourceChanged]:
        """Believe the source: release what is held."""

    def left_registry(self, keys: Iterable[EndpointKey], now: float) -> None:
        """Take in that these keys left our own registry in order."""

    def stored(self, service: CatalogService) -> StoredView:
        """Give the form to store of a service that is passed on."""

    @property
    def remembered(self) -> StoredSource:
        """What to store of the source itself."""

    @property
    def held(self) -> int:
        """How many endpoints are held."""

    @property
    def blind(self) -> str:
        """Why what it says cannot be read as the truth; empty = it can."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences: what cannot be used of it."""


class StaticReader:
    """A directory of documents. An operator's own edit is never held."""

    def __init__(self, source: StaticSource, *, mesh_domain: str) -> None:
        self._edge = StaticFiles(source.name, source.path, poll_seconds=source.poll_seconds)
        self._catalog = StaticCatalog(source.name, mesh_domain)
        self._parsed: dict[FileText, ParsedFile] = {}
        self.held = 0
        self.blind = ""
        self.remembered = StoredSource()

    def load(self, views: Mapping[str, StoredView], _: StoredSource) -> None:
        """Take in what was stored, before any file is read."""
        services = (view.service for view in views.values())
        self._catalog = static_catalog.loaded(self._catalog, services)

    async def run(self, emit: Emit) -> None:
        """Read the files for ever."""

        async def read(fact: CatalogFact) -> None:
            if isinstance(fact, FilesRead):
                # Ten thousand documents take seconds: leases must not wait for them.
                for file in fact.changed:
                    self._parsed[file] = await asyncio.to_thread(self._parse, file)
            emit(fact)

        await self._edge.run(read)

    def take(self, fact: CatalogFact, _: float) -> list[SourceChanged]:
        """Take in files that changed."""
        if not isinstance(fact, FilesRead):
            return []
        files = {
            file.path: self._parsed.pop(file) if file in self._parsed else self._parse(file)
            for file in fact.changed
        }
        self._catalog, changes = static_catalog.files_read(self._catalog, fact, files)
        return changes

    def _parse(self, file: FileText) -> ParsedFile:
        return static_catalog.parsed(file, mesh_domain=self._catalog.mesh_domain)

    def accept(self) -> list[SourceChanged]:
        """Nothing of it is ever held."""
        return []

    def left_registry(self, keys: Iterable[EndpointKey], now: float) -> None:
        """Nothing of it is ever held."""

    def stored(self, service: CatalogService) -> StoredView:
        """Give the form to store of a service."""
        return StoredView(service)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What cannot be used of the files, and what stands in spite of it."""
        problems = [str(problem) for problem in self._catalog.problems]
        if self._catalog.inherited:
            hosts = ", ".join(sorted(self._catalog.inherited))
            problems.append(f"as stored before the restart, until every document is read: {hosts}")
        return tuple(problems)


class ConsulReader:
    """One Consul datacenter, held where it says less than the truth."""

    def __init__(
        self, source: ConsulSource, *, mesh_domain: str, virtual_ranges: Iterable[str] = ()
    ) -> None:
        self._source = source
        self._mapping = ConsulMapping(
            source=source.name,
            mesh_domain=mesh_domain,
            namespace=source.namespace,
            host_template=source.host_template,
            alias_template=source.alias_template,
            version_tag=source.version_tag,
            virtual=listed_addresses.networks(virtual_ranges),
            reserved_hosts=frozenset({names.control_plane_host(mesh_domain)}),
        )
        self._mapping.host(
            "checked"
        )  # a template that cannot be filled ends the start, not a watch
        self._agent = ConsulAgent(source.address, source.token_file, source.datacenter, source.tls)
        self._agent.check()
        rules = HoldRules(source.hold_seconds, source.hold_share, source.hold_count)
        self._holds = Holds(source.name, rules)
        self._index: dict[str, int] = {}
        """By service, the index of its last answer that was believed."""
        self._hosts: dict[str, str] = {}
        """By host name, the Consul service it comes from."""
        self._unusable = Remarks()
        self._left_out = ""
        self._servers: int | None = None
        self.remembered = StoredSource()

    def load(self, views: Mapping[str, StoredView], remembered: StoredSource) -> None:
        """Take in what was stored: the first answers are compared with it."""
        self.remembered = remembered
        for host, view in views.items():
            self._holds = holds.loaded(self._holds, view.service)
            self._index[view.name] = view.index
            self._hosts[host] = view.name

    async def run(self, emit: Emit) -> None:
        """Watch the datacenter for ever."""
        rules = WatchRules(
            self._source.name,
            self._source.services,
            self._source.wait_seconds,
            self._source.settle_seconds,
            self._source.max_services,
        )
        client = ConsulClient(self._agent)
        try:
            await ConsulWatch(client, rules, emit).run(known=sorted(self._hosts.values()))
        finally:
            await client.close()

    def take(self, fact: CatalogFact, now: float) -> list[SourceChanged]:
        """Take in an answer."""
        if not isinstance(fact, ConsulService):
            self._note(fact)
            return []
        try:
            service = consul_catalog.read_service(fact.service, fact.instances, self._mapping)
            host = self._host_of(fact.service)
        except BadInput as error:
            self._unusable.put(fact.service, str(error))
            return []
        self._unusable.drop(fact.service)
        if service is not None:
            service = self._bounded(service, fact.service)
        suspicious = consul_catalog.suspicion(
            fact.facts,
            index_before=self._index.get(fact.service, 0),
            sentinel=fact.sentinel,
            sentinel_known=self.remembered.sentinel_seen,
        )
        if not suspicious:
            self._index[fact.service] = fact.facts.index
        event = SourceChanged(self._source.name, host, service, suspicious)
        self._holds, changes = holds.offered(self._holds, event, now=now)
        return changes

    def _note(self, fact: CatalogFact) -> None:
        match fact:
            case ConsulSentinel(servers=servers):
                self._servers = servers
                if servers:
                    self.remembered = replace(self.remembered, sentinel_seen=True)
            case ConsulNames(left_out=left_out):
                self._left_out = source_limits.left_out(left_out, most=self._source.max_services)
            case ConsulUnread(service=service, reason=reason):
                self._unusable.put(service, reason)
            case _:
                pass

    def _bounded(self, service: CatalogService, name: str) -> CatalogService:
        """Leave out what is beyond the limits: what is passed on already keeps its place."""
        passed = self._holds.services.get(service.host)
        known = passed.passed if passed else None
        count = len(known.endpoints) if known else 0
        bounded = source_limits.bounded(
            service,
            known=known,
            most=self._source.max_endpoints_per_service,
            room=self._source.max_endpoints - (self._holds.present - count),
        )
        if bounded is not service:
            self._unusable.put(name, bounded.problems[-1])
        return bounded

    def accept(self) -> list[SourceChanged]:
        """Believe the source: release what is held."""
        self._holds, changes = holds.accept(self._holds)
        return changes

    def left_registry(self, keys: Iterable[EndpointKey], now: float) -> None:
        """Take in that these keys left our own registry in order."""
        self._holds = holds.left_registry(self._holds, keys, now=now)

    def stored(self, service: CatalogService) -> StoredView:
        """Give the form to store of a service, with the index of its answer."""
        name = self._hosts.get(service.host, "")
        return StoredView(service, name, self._index.get(name, 0))

    @property
    def held(self) -> int:
        """How many endpoints are held."""
        return self._holds.held

    @property
    def blind(self) -> str:
        """Why what it says cannot be read as the truth; empty = it can."""
        if self._servers == 0 and self.remembered.sentinel_seen:
            return (
                "cannot read the catalog any more: the ACL token sees no Consul server; its last "
                "view stays until the token may read again"
            )
        return ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What cannot be used of it."""
        found = [*([self._left_out] if self._left_out else []), *self._unusable.texts]
        if self._servers == 0 and not self.remembered.sentinel_seen:
            found.append(
                "cannot tell a lost ACL from an empty catalog: the token does not see the service "
                f"consul; give it: {consul_catalog.READ_POLICY}"
            )
        return tuple(found)

    def _host_of(self, service: str) -> str:
        """Give the host name, which one Consul service alone may have."""
        host = self._mapping.host(service)
        other = self._hosts.setdefault(host, service)
        if other != service:
            raise BadInput(
                f'cannot take the Consul service "{consul_catalog.printable(service)}": '
                f'"{consul_catalog.printable(other)}" has the name {host} already'
            )
        return host
