"""The static catalog: documents of ServiceEntry and WorkloadEntry, into services (DESIGN 5, 14).

One bad document never takes a good one along: the last good version of that object stays in force
and says so. Where a bad document does not even tell which object it is, everything that its file
held before stays.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from immutables import Map

from hostmesh_controlplane.events.catalogs import FilesRead, FileText
from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService, SourceChanged
from hostmesh_controlplane.logic.config_kinds.resource import (
    ObjectName,
    Resource,
    Unusable,
    annotations,
    read_resource,
)
from hostmesh_controlplane.logic.config_kinds.service_entry import (
    ServiceEntry,
    ServicePort,
    read_service_entry,
)
from hostmesh_controlplane.logic.config_kinds.workload_entry import (
    WorkloadEntrySpec,
    read_workload_entry,
)
from hostmesh_controlplane.logic.identities import short_name
from hostmesh_core.documents import Document, Problem, read_all
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Origin, Port, labels_of

KINDS = ("ServiceEntry", "WorkloadEntry")


@dataclass(frozen=True, slots=True)
class Workload:
    """A WorkloadEntry that can be used."""

    resource: Resource
    spec: WorkloadEntrySpec


Usable = ServiceEntry | Workload

Placed = tuple[WorkloadEntrySpec, str]
"""An instance, and where it is written: `file:line`."""


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What one file says, whatever it said before."""

    objects: tuple[Usable, ...] = ()
    problems: tuple[Problem, ...] = ()
    bad: frozenset[ObjectName | None] = frozenset()
    """Objects whose document cannot be used; None = one that does not tell which it is."""
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class FileView:
    """What one file comes to: the objects in force, and what is wrong with it."""

    objects: tuple[Usable, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class StaticCatalog:
    """One static source."""

    source: str
    mesh_domain: str
    files: Map[str, FileView] = field(default_factory=Map)
    services: Map[str, CatalogService] = field(default_factory=Map)
    """By host name: what was told last."""
    inherited: Map[str, CatalogService] = field(default_factory=Map)
    """Services of the view stored before a restart that no document states since: they stand while
    some document cannot be read, for it may be theirs."""
    duplicates: tuple[Problem, ...] = ()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong, by file and line."""
        found = [problem for view in self.files.values() for problem in view.problems]
        return tuple(sorted([*found, *self.duplicates], key=lambda p: (p.file, p.line, p.message)))


def parsed(file: FileText, *, mesh_domain: str) -> ParsedFile:
    """Read a file's documents: the part that costs, and needs nothing but the file."""
    if file.problem:
        return ParsedFile(unreadable=True, problems=(Problem(file.path, 1, file.problem),))
    documents, unread = read_all(file.text, file=file.path)
    good: dict[ObjectName, Usable] = {}
    problems = list(unread)
    bad: set[ObjectName | None] = {None} if unread else set()
    for document in documents:
        try:
            usable = _usable(document, mesh_domain)
            first = good.setdefault(usable.resource.name, usable)
            if first is not usable:
                problems.append(_twice(usable.resource, first.resource))
        except Unusable as error:
            bad.add(error.name)
            problems += error.problems
    return ParsedFile(tuple(good.values()), tuple(problems), frozenset(bad))


def files_read(
    catalog: StaticCatalog, event: FilesRead, files: Mapping[str, ParsedFile]
) -> tuple[StaticCatalog, list[SourceChanged]]:
    """Take in changed files, parsed, and gone ones; give the services that truly changed."""
    views = {file.path: files[file.path] for file in event.changed}
    after = {path: _view(views[path], catalog.files.get(path, FileView())) for path in views}
    with_files = catalog.files.update(after)
    for path in event.gone:
        with_files = with_files.delete(path) if path in with_files else with_files
    objects, duplicates = _unique(with_files)
    paths = [*after, *event.gone]
    touched = [u for files in (catalog.files, with_files) for u in _objects(files, paths)]
    # A name that stands in two files moves from one to the other when the first one goes.
    shared = {problem.message for problem in (*catalog.duplicates, *duplicates)}
    services = _resettled(catalog, objects, None if shared else touched)
    unread = any(view.problems for view in with_files.values())
    kept = {h: s for h, s in catalog.inherited.items() if unread and h not in services}
    services = services.update(kept)
    changes = [
        SourceChanged(catalog.source, host, services.get(host))
        for host in sorted({*catalog.services, *services})
        if catalog.services.get(host) is not services.get(host)
        and catalog.services.get(host) != services.get(host)
    ]
    told = replace(catalog, files=with_files, services=services, inherited=Map(kept))
    return replace(told, duplicates=tuple(duplicates)), changes


def loaded(catalog: StaticCatalog, services: Iterable[CatalogService]) -> StaticCatalog:
    """Take in the stored view, before any file is read."""
    stored = Map({service.host: service for service in services})
    return replace(catalog, services=stored, inherited=stored)


def _view(parsed: ParsedFile, known: FileView) -> FileView:
    """Keep what a file held before where it does not tell that any more."""
    if parsed.unreadable:
        stay = "; its objects stay as they were" if known.objects else ""
        problems = (replace(p, message=p.message + stay) for p in parsed.problems)
        return replace(known, problems=tuple(problems))
    good = {usable.resource.name for usable in parsed.objects}
    kept = [
        old
        for old in known.objects
        if old.resource.name not in good and (None in parsed.bad or old.resource.name in parsed.bad)
    ]
    said = (_kept(usable.resource) for usable in kept)
    return FileView((*parsed.objects, *kept), (*parsed.problems, *said))


def _usable(document: Document, mesh_domain: str) -> Usable:
    resource = read_resource(document, kinds=KINDS, file_kind="the static catalog")
    if resource.name.kind == "ServiceEntry":
        return read_service_entry(resource, mesh_domain=mesh_domain)
    annotations(resource, ())
    return Workload(resource, read_workload_entry(resource))


def _twice(second: Resource, first: Resource) -> Problem:
    return second.problem(("metadata", "name"), f"is there already, at {first.origin}; it counts")


def _kept(resource: Resource) -> Problem:
    message = f"{resource.name}: its last good version stays in force"
    return Problem(resource.document.file, 1, message)


def _objects(files: Map[str, FileView], paths: Iterable[str]) -> list[Usable]:
    return [usable for path in paths for usable in files.get(path, FileView()).objects]


def _unique(files: Map[str, FileView]) -> tuple[list[Usable], list[Problem]]:
    """Give every object once, the first by file and line, and name the others."""
    found: dict[ObjectName, Usable] = {}
    duplicates: list[Problem] = []
    for path in sorted(files):
        for usable in sorted(files[path].objects, key=lambda one: one.resource.document.line):
            first = found.setdefault(usable.resource.name, usable)
            if first is not usable:
                duplicates.append(_twice(usable.resource, first.resource))
    return list(found.values()), duplicates


def _resettled(
    catalog: StaticCatalog, objects: Iterable[Usable], touched: Iterable[Usable] | None
) -> Map[str, CatalogService]:
    """Give all services; only those of touched objects are made anew, None = all."""
    entries, workloads = _indexed(objects)
    hosts = {*entries, *catalog.services}
    if touched is not None:
        hosts = _touched_hosts(entries, touched) | set(catalog.inherited)
    made = catalog.services.mutate()
    for host in hosts:
        if host in entries:
            made[host] = _service(host, entries[host], workloads, catalog.mesh_domain)
        else:
            made.pop(host, None)
    return made.finish()


def _indexed(
    objects: Iterable[Usable],
) -> tuple[dict[str, list[ServiceEntry]], dict[str, list[Workload]]]:
    """Give entries by host and workloads by namespace."""
    entries: dict[str, list[ServiceEntry]] = {}
    workloads: dict[str, list[Workload]] = {}
    for usable in objects:
        if isinstance(usable, Workload):
            workloads.setdefault(usable.resource.name.namespace, []).append(usable)
        else:
            for host in usable.spec.hosts:
                entries.setdefault(host, []).append(usable)
    return entries, workloads


def _touched_hosts(
    entries: Mapping[str, list[ServiceEntry]], touched: Iterable[Usable]
) -> set[str]:
    """Give the hosts of touched entries, and of those whose selector may see a touched workload."""
    hosts: set[str] = set()
    namespaces: set[str] = set()
    for usable in touched:
        if isinstance(usable, Workload):
            namespaces.add(usable.resource.name.namespace)
        else:
            hosts.update(usable.spec.hosts)
    selecting = (
        host
        for host, of_host in entries.items()
        if namespaces
        and any(
            e.spec.workloadSelector and e.resource.name.namespace in namespaces for e in of_host
        )
    )
    return hosts | set(selecting)


def _service(
    host: str,
    entries: list[ServiceEntry],
    workloads: dict[str, list[Workload]],
    mesh_domain: str,
) -> CatalogService:
    """Unite the entries of one host: endpoints of all, attributes of the first."""
    namespace = entries[0].namespace
    mine = [entry for entry in entries if entry.namespace == namespace]
    problems = [
        f"{other.resource.origin}: {other.resource.name} is not used: {host} is in namespace "
        f"{namespace} by {entries[0].resource.origin}"
        for other in entries
        if other.namespace != namespace
    ]
    ports: dict[int, Port] = {}
    endpoints: dict[tuple[EndpointKey, int], CatalogEndpoint] = {}
    for entry in mine:
        selected = _workloads(entry, workloads)
        problems += _unread(entry, selected)
        for port in entry.ports:
            first = ports.setdefault(port.number, port)
            if first.protocol != port.protocol:
                problems.append(
                    f"{entry.resource.origin}: port {port.number} speaks {first.protocol} by "
                    f"{mine[0].resource.origin}, not {port.protocol}"
                )
        for endpoint in _endpoints(entry, selected):
            endpoints.setdefault((endpoint.key, endpoint.service_port), endpoint)
    return CatalogService(
        host=host,
        namespace=namespace,
        ports=tuple(sorted(ports.values())),
        aliases=tuple(dict.fromkeys(alias for entry in mine for alias in entry.aliases)),
        short_name=short_name(host, namespace, mesh_domain=mesh_domain),
        subject_alt_names=tuple(sorted({i for entry in mine for i in entry.subject_alt_names})),
        require_mesh=any(entry.require_mesh for entry in mine),
        endpoints=tuple(endpoints[place] for place in sorted(endpoints)),
        problems=tuple(problems),
        origin=mine[0].resource.origin,
    )


def _workloads(entry: ServiceEntry, workloads: dict[str, list[Workload]]) -> list[Placed]:
    selector = entry.spec.workloadSelector
    if selector is None:
        document = entry.resource.document
        specs = enumerate(entry.spec.endpoints)
        return [(spec, document.where(("spec", "endpoints", n))) for n, spec in specs]
    return [
        (workload.spec, workload.resource.origin)
        for workload in workloads.get(entry.resource.name.namespace, [])
        if selector.labels.items() <= workload.spec.labels.items()
    ]


def _endpoints(entry: ServiceEntry, workloads: list[Placed]) -> Iterator[CatalogEndpoint]:
    for placed in workloads:
        for port in entry.spec.ports:
            yield _endpoint(entry, port, placed)


def _endpoint(entry: ServiceEntry, port: ServicePort, placed: Placed) -> CatalogEndpoint:
    workload, where = placed
    return CatalogEndpoint(
        key=EndpointKey(workload.network, workload.address, entry.target(port, workload)),
        port_name=port.name,
        service_port=port.number,
        weight=workload.weight or 1,
        labels=labels_of(workload.labels),
        locality=workload.place,
        origin=Origin(file=where),
    )


def _unread(entry: ServiceEntry, workloads: list[Placed]) -> Iterator[str]:
    """Say what is written, valid, and has no effect here."""
    if entry.spec.addresses:
        yield (
            f"{entry.resource.origin}: spec.addresses has no effect: the service has virtual "
            "addresses of its own"
        )
    if any(workload.serviceAccount for workload, _ in workloads):
        yield (
            f"{entry.resource.origin}: serviceAccount has no effect: an identity comes from a "
            "live registration; list further ids in spec.subjectAltNames"
        )
