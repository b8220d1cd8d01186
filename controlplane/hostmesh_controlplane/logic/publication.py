"""The merged mesh as Envoy resources: what each stream may see, rendered once per distinct view.

Merge hands over the services that changed; `apply` replaces their facts and says which resources
those feed; streams then `get` them. Rendering happens at the first `get` of a view and its bytes
serve every stream of that view until the facts change (DESIGN 8). Cost follows the change: the
facts of the services in it, and one rendering per view that somebody asks for.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from weakref import WeakValueDictionary

from hostmesh_controlplane.logic.render import (
    clusters,
    endpoints,
    inbound,
    outbound_listeners,
    routes,
    special,
    upstreams,
)
from hostmesh_controlplane.logic.render.index import Named, OutboundIndex
from hostmesh_controlplane.logic.render.views import (
    CaptureView,
    ClusterView,
    DirectView,
    EndpointView,
    InboundPortView,
    InboundView,
    OutboundView,
    RouteView,
    UpstreamView,
)
from hostmesh_controlplane.logic.scope import Inbound, Scope
from hostmesh_core import names, type_urls
from hostmesh_core.model import MeshChange
from hostmesh_core.xds.resource import Resource, resource

Touched = Mapping[str, frozenset[str]]
"""Type URL -> names of the resources whose content or existence may have changed."""

_VIEWS_KEPT = 64
"""Views whose bytes are kept per resource. Clusters differ by the certificates of the host, of
which a mesh has hundreds; rendering one again costs 15 µs, keeping all of them gigabytes."""

_ALWAYS = (names.BLACK_HOLE_CLUSTER, names.PASSTHROUGH_CLUSTER, names.DIRECT_CLUSTER)


class Publication:
    """What the mesh looks like to Envoys, now."""

    def __init__(
        self,
        *,
        vip4_range: str = "240.240.0.0/16",
        vip6_range: str = "fd48:6d65:7368::/64",
    ) -> None:
        """Start with an empty mesh. The ranges are those that virtual addresses come from."""
        self._vip4_range = vip4_range
        self._vip6_range = vip6_range
        self._index = OutboundIndex()
        self._cache: dict[Named, dict[Hashable, Resource]] = {}
        self._inbound: dict[str, InboundResources] = {}
        self._nothing_inbound = InboundResources(None)
        self._alike: WeakValueDictionary[Inbound, InboundResources] = WeakValueDictionary()
        """Instances of one service are alike: their bytes are shared while one of them is there."""

    def apply(self, changes: Sequence[MeshChange]) -> Touched:
        """Take over changed services, and say which resources may be different now."""
        touched: dict[str, set[str]] = {}
        for change in changes:
            for type_url, name in self._index.replace(change.host, change.after):
                self._cache.pop((type_url, name), None)
                touched.setdefault(type_url, set()).add(name)
        return {type_url: frozenset(found) for type_url, found in touched.items()}

    def set_inbound(self, host_id: str, value: Inbound | None) -> Touched:
        """Take over what a host serves itself, and say which of its resources are different now."""
        old = self._inbound.pop(host_id, None)
        new = None if value is None else self._alike.get(value) or InboundResources(value)
        if value is not None and new is not None:
            self._inbound[host_id] = self._alike[value] = new
        return _differing(old, new)

    def resources(self, scope: Scope, host_id: str) -> "HostResources":
        """Give what the stream of this host sees. The answers follow every later change."""
        return HostResources(self, scope, host_id)

    def outbound(self, scope: Scope, type_url: str, name: str) -> Resource | None:
        """Give an outbound resource as a scope sees it, or None where there is none."""
        match type_url:
            case type_urls.CLUSTER:
                return self._cluster(scope, name)
            case type_urls.ENDPOINT:
                return self._load_assignment(scope, name)
            case type_urls.LISTENER:
                return self._listener(scope, name)
            case type_urls.ROUTE:
                return self._route_configuration(scope, name)
            case _:
                return None

    def outbound_names(self, scope: Scope, type_url: str) -> Iterable[str]:
        """Give the names of a type that every host of the scope sees."""
        index = self._index
        match type_url:
            case type_urls.CLUSTER:
                return chain(_ALWAYS, index.clusters)
            case type_urls.ENDPOINT:
                return iter(index.endpoints)
            case type_urls.LISTENER:
                direct = index.direct_names(scope.network)
                return chain((names.VIRTUAL_OUTBOUND,), index.http_listeners, index.tcp, direct)
            case type_urls.ROUTE:
                return iter(index.routes)
            case _:
                return ()

    def inbound(self, host_id: str) -> "InboundResources":
        """Give what only this host sees."""
        return self._inbound.get(host_id, self._nothing_inbound)

    def _cluster(self, scope: Scope, name: str) -> Resource | None:
        key = (type_urls.CLUSTER, name)
        facts = self._index.clusters.get(name)
        if facts is not None:
            view = ClusterView.of(scope, facts)
            return self._rendered(key, view, lambda: clusters.cluster(view, facts))
        match name:
            case names.BLACK_HOLE_CLUSTER:
                return self._rendered(key, (), special.black_hole)
            case names.PASSTHROUGH_CLUSTER:
                return self._rendered(key, (), special.passthrough)
            case names.DIRECT_CLUSTER:
                direct = DirectView.of(scope)
                return self._rendered(key, direct, lambda: special.direct(direct))
            case _:
                return None

    def _load_assignment(self, scope: Scope, name: str) -> Resource | None:
        facts = self._index.endpoints.get(name)
        if facts is None:
            return None
        view = EndpointView.of(scope)
        key = (type_urls.ENDPOINT, name)
        return self._rendered(key, view, lambda: endpoints.load_assignment(view, facts))

    def _listener(self, scope: Scope, name: str) -> Resource | None:
        key = (type_urls.LISTENER, name)
        shared = (self._vip4_range, self._vip6_range, scope.families.sockets6)
        if name == names.VIRTUAL_OUTBOUND:
            capture = CaptureView(*shared, scope.outbound_port)
            return self._rendered(
                key, capture, lambda: outbound_listeners.virtual_outbound(capture)
            )
        view = OutboundView(*shared)
        port = self._index.http_listeners.get(name)
        if port is not None:
            return self._rendered(key, view, lambda: outbound_listeners.http_listener(view, port))
        tcp = self._index.tcp.get(name)
        if tcp is not None:
            return self._rendered(key, (), lambda: outbound_listeners.tcp_listener(tcp))
        direct = self._index.direct_facts(name, scope.network)
        if direct is None:
            return None
        return self._rendered(key, direct, lambda: outbound_listeners.direct_listener(direct))

    def _route_configuration(self, scope: Scope, name: str) -> Resource | None:
        port = self._index.routes.get(name)
        if port is None:
            return None
        view, hosts = RouteView.of(scope), self._index.http[port]
        key = (type_urls.ROUTE, name)
        return self._rendered(
            key, view, lambda: routes.route_configuration(port, hosts.encoded(view))
        )

    def _rendered(self, key: Named, view: Hashable, render: Callable[[], bytes]) -> Resource:
        kept = self._cache.setdefault(key, {})
        found = kept.get(view)
        if found is None:
            type_url, name = key
            found = kept[view] = resource(type_url, name, render())
            if len(kept) > _VIEWS_KEPT:
                del kept[next(iter(kept))]
        return found


class HostResources:
    """One stream's `Resources`: the scope's outbound ones and the host's own inbound ones."""

    def __init__(self, publication: Publication, scope: Scope, host_id: str) -> None:
        """Take where to look and for whom."""
        self._publication = publication
        self._scope = scope
        self._host_id = host_id

    def get(self, type_url: str, name: str) -> Resource | None:
        """Give the resource of this name as this stream sees it, or None where there is none."""
        own = self._publication.inbound(self._host_id)
        found = own.get(type_url, name)
        if found is not None or name in own.hidden:
            return found
        return self._publication.outbound(self._scope, type_url, name)

    def names(self, type_url: str) -> Iterable[str]:
        """Give every name of the type: what a wildcard subscription means."""
        own = self._publication.inbound(self._host_id)
        shared = self._publication.outbound_names(self._scope, type_url)
        if type_url == type_urls.LISTENER and own.hidden:
            shared = (name for name in shared if name not in own.hidden)
        return chain(own.names(type_url), shared)


class InboundResources:
    """What one host accepts for its own apps: a handful of resources, rendered at once."""

    def __init__(self, value: Inbound | None) -> None:
        """Render all of it; for None there is nothing, not even a listener."""
        views = () if value is None else InboundPortView.all_of(value)
        self.hidden = frozenset(
            names.outbound_http_listener(view.port.mesh_port)
            for view in views
            if view.port.mesh_port
        )
        """Shared listeners on ports that Envoy binds here itself: one address, one listener."""
        shared = () if value is None else _of_host(value, views)
        rendered = chain(shared, *map(_of_port, views))
        self._resources = {(each.type_url, each.name): each for each in rendered}

    def get(self, type_url: str, name: str) -> Resource | None:
        """Give the resource, or None."""
        return self._resources.get((type_url, name))

    def names(self, type_url: str) -> Iterator[str]:
        """Give the names of a type."""
        return (name for of, name in self._resources if of == type_url)

    def all(self) -> Iterable[Resource]:
        """Give all of it."""
        return self._resources.values()

    def versions(self) -> dict[Named, str]:
        """Give each resource's version; a hidden one counts as changed with its own."""
        shown = {key: each.version for key, each in self._resources.items()}
        return shown | {(type_urls.LISTENER, name): "hidden" for name in self.hidden}


def _of_host(value: Inbound, views: tuple[InboundPortView, ...]) -> Iterator[Resource]:
    yield from _listeners(InboundView(views, value.ipv6, value.envoy.inbound))
    for each in value.upstreams:
        upstream = UpstreamView(each, value.envoy.outbound)
        name = names.upstream(each.listen, each.listen_port)
        yield resource(type_urls.LISTENER, name, upstreams.listener(upstream))
        if each.protocol.is_http:
            yield resource(type_urls.ROUTE, name, upstreams.route_configuration(upstream))


def _listeners(view: InboundView) -> Iterator[Resource]:
    yield resource(type_urls.LISTENER, names.VIRTUAL_INBOUND, inbound.virtual_inbound(view))
    for port in view.ports:
        if port.port.mesh_port:
            name = names.mesh_port_listener(port.port.mesh_port)
            yield resource(type_urls.LISTENER, name, inbound.mesh_port_listener(port))


def _of_port(view: InboundPortView) -> Iterator[Resource]:
    number = view.port.workload_port
    yield resource(type_urls.CLUSTER, names.inbound_cluster(number), inbound.cluster(view))
    if view.port.protocol.is_http:
        route = inbound.route_configuration(view)
        yield resource(type_urls.ROUTE, names.inbound_route(number), route)
    else:
        name = names.inbound_tcp_policy(number)
        yield resource(type_urls.EXTENSION_CONFIG, name, inbound.tcp_policy(view))


def _differing(old: InboundResources | None, new: InboundResources | None) -> Touched:
    before = {} if old is None else old.versions()
    after = {} if new is None else new.versions()
    touched: dict[str, set[str]] = {}
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            touched.setdefault(key[0], set()).add(key[1])
    return {type_url: frozenset(found) for type_url, found in touched.items()}
