"""Which other resources a resource refers to: the one place that decodes them to find out.

A proxy that gets a route before its cluster answers 503, and a listener waits for its routes; so
whoever passes resources on in order has to know what names what.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ExtensionConfigSource
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.message import DecodeError

from hostmesh_core import type_urls
from hostmesh_core.errors import BadInput
from hostmesh_core.xds.resource import Resource


class Unreadable(BadInput):
    """A resource's bytes are no message of its type."""


@dataclass(frozen=True, slots=True)
class References:
    """Names, one set per type that can be referred to."""

    clusters: frozenset[str] = frozenset()
    assignments: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()

    def by_type(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Give what is subscribed to by name: everything but clusters, which come by wildcard."""
        yield type_urls.ENDPOINT, self.assignments
        yield type_urls.ROUTE, self.routes
        yield type_urls.EXTENSION_CONFIG, self.extensions


NONE = References()


def of(resource: Resource) -> References:
    """Read what a resource refers to; most types refer to nothing. Raises Unreadable."""
    try:
        match resource.type_url:
            case type_urls.CLUSTER:
                return _of_cluster(Cluster.FromString(resource.body))
            case type_urls.LISTENER:
                return _of_listener(Listener.FromString(resource.body))
            case type_urls.ROUTE:
                hosts = RouteConfiguration.FromString(resource.body).virtual_hosts
                return References(clusters=frozenset(_clusters_of_hosts(hosts)))
            case type_urls.VIRTUAL_HOST:
                host = VirtualHost.FromString(resource.body)
                return References(clusters=frozenset(_clusters_of_hosts([host])))
            case _:
                return NONE
    except DecodeError as error:
        short = type_urls.SHORT.get(resource.type_url, resource.type_url)
        raise Unreadable(f"cannot read {short} resource {resource.name!r}: {error}") from error


def _of_cluster(cluster: Cluster) -> References:
    if cluster.type != Cluster.EDS:
        return NONE
    name = cluster.eds_cluster_config.service_name or cluster.name
    return References(assignments=frozenset({name}))


def _of_listener(listener: Listener) -> References:
    clusters: set[str] = set()
    routes: set[str] = set()
    extensions = {
        item.name for item in listener.listener_filters if _is_discovered(item.config_discovery)
    }
    for chain in [*listener.filter_chains, listener.default_filter_chain]:
        for item in chain.filters:
            if _is_discovered(item.config_discovery):
                extensions.add(item.name)
            elif item.typed_config.Is(TcpProxy.DESCRIPTOR):
                clusters.update(_clusters_of_tcp(TcpProxy.FromString(item.typed_config.value)))
            elif item.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
                manager = HttpConnectionManager.FromString(item.typed_config.value)
                _add_manager(manager, clusters, routes, extensions)
    if listener.api_listener.api_listener.Is(HttpConnectionManager.DESCRIPTOR):
        manager = HttpConnectionManager.FromString(listener.api_listener.api_listener.value)
        _add_manager(manager, clusters, routes, extensions)
    return References(
        clusters=frozenset(clusters), routes=frozenset(routes), extensions=frozenset(extensions)
    )


def _add_manager(
    manager: HttpConnectionManager, clusters: set[str], routes: set[str], extensions: set[str]
) -> None:
    if manager.HasField("rds"):
        routes.add(manager.rds.route_config_name)
    clusters.update(_clusters_of_hosts(manager.route_config.virtual_hosts))
    extensions.update(
        item.name for item in manager.http_filters if _is_discovered(item.config_discovery)
    )


def _is_discovered(source: ExtensionConfigSource) -> bool:
    return bool(source.HasField("config_source"))


def _clusters_of_tcp(proxy: TcpProxy) -> Iterator[str]:
    if proxy.cluster:
        yield proxy.cluster
    for weighted in proxy.weighted_clusters.clusters:
        yield weighted.name


def _clusters_of_hosts(hosts: Iterable[VirtualHost]) -> Iterator[str]:
    for host in hosts:
        for route in host.routes:
            yield from _clusters_of_route(route)
        for mirror in host.request_mirror_policies:
            yield mirror.cluster


def _clusters_of_route(route: Route) -> Iterator[str]:
    action = route.route
    if action.cluster:
        yield action.cluster
    for weighted in action.weighted_clusters.clusters:
        if weighted.name:
            yield weighted.name
    for mirror in action.request_mirror_policies:
        if mirror.cluster:
            yield mirror.cluster
