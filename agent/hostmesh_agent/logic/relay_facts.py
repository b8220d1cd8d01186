"""What a generation says about the mesh, for the rest of the agent: names, addresses, endpoints.

Capture needs the addresses that lead into the mesh, `dns: hosts` the names of the virtual ones.
Both are read from what Envoy is served, so that the host never knows more than its Envoy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener

from hostmesh_core import names
from hostmesh_core.type_urls import CLUSTER, LISTENER
from hostmesh_core.xds.store import Generation


@dataclass(frozen=True, slots=True, order=True)
class VirtualService:
    """One port of a service, as the client dials it."""

    host: str
    port: int
    protocol: str
    vip4: str
    vip6: str
    names: tuple[str, ...]
    """Every name that means it on this host, the fully qualified one first."""


@dataclass(frozen=True, slots=True, order=True)
class MeshEndpoint:
    """An address and port of a registered instance: reached by mutual TLS, healthy or not."""

    address: str
    port: int
    host: str
    """The service's host name."""


@dataclass(frozen=True, slots=True)
class MeshFacts:
    """All of it, sorted."""

    services: tuple[VirtualService, ...] = ()
    endpoints: tuple[MeshEndpoint, ...] = ()

    def captured(self) -> frozenset[tuple[str, int]]:
        """Give (address, port) of the registered instances: connections to them enter the mesh."""
        return frozenset((each.address, each.port) for each in self.endpoints)

    def addresses(self) -> dict[str, tuple[str, str]]:
        """Give each name's virtual addresses (IPv4, IPv6); of two services the first by host."""
        found: dict[str, tuple[str, str]] = {}
        for service in self.services:
            for name in service.names:
                found.setdefault(name, (service.vip4, service.vip6))
        return found


READ = (CLUSTER, LISTENER)
"""The types that facts are read from: while these are the same, the facts are."""


def read(generation: Generation) -> MeshFacts:
    """Read the facts. What lacks our metadata is no service and no instance, and is passed over.

    The instances come from their own listeners, not from the load assignments: one that is
    unhealthy is in no assignment, and a connection to it must be captured all the same, or it
    would reach the app in plaintext.
    """
    services = [
        _service(cluster)
        for cluster in _decoded(generation, CLUSTER, Cluster)
        if names.METADATA_NAMESPACE in cluster.metadata.filter_metadata
    ]
    endpoints = [
        endpoint
        for listener in _decoded(generation, LISTENER, Listener)
        if listener.stat_prefix == names.DIRECT_CLUSTER
        for endpoint in _endpoints(listener)
    ]
    return MeshFacts(tuple(sorted(set(services))), tuple(sorted(set(endpoints))))


def _decoded(generation: Generation, type_url: str, message: Any) -> Iterator[Any]:
    for name in generation.names(type_url):
        resource = generation.get(type_url, name)
        if resource is not None:
            yield message.FromString(resource.body)


def _service(cluster: Cluster) -> VirtualService:
    fields = cluster.metadata.filter_metadata[names.METADATA_NAMESPACE].fields

    def text(key: str) -> str:
        return str(fields[key].string_value) if key in fields else ""

    listed = [value.string_value for value in fields["names"].list_value.values]
    return VirtualService(
        host=text("host"),
        port=int(fields["port"].number_value),
        protocol=text("protocol"),
        vip4=text("vip4"),
        vip6=text("vip6"),
        names=tuple(listed),
    )


def _endpoints(listener: Listener) -> Iterator[MeshEndpoint]:
    fields = listener.metadata.filter_metadata[names.METADATA_NAMESPACE].fields
    addresses = [listener.address, *(more.address for more in listener.additional_addresses)]
    for address in addresses:
        where = address.socket_address
        yield MeshEndpoint(where.address, where.port_value, str(fields["host"].string_value))
