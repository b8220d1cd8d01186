"""What a generation says about the mesh, for the rest of the agent: names, addresses, endpoints.

Capture needs the addresses that lead into the mesh, `dns: hosts` the names of the virtual ones.
Both are read from what Envoy is served, so that the host never knows more than its Envoy.
"""

from dataclasses import dataclass

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from hostmesh_core import names
from hostmesh_core.type_urls import CLUSTER, ENDPOINT
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
    """An address and port of an instance."""

    address: str
    port: int
    host: str
    """The service's host name."""
    meshed: bool
    """Whether it is reached by mutual TLS; a plain one must not be captured."""


@dataclass(frozen=True, slots=True)
class MeshFacts:
    """All of it, sorted."""

    services: tuple[VirtualService, ...] = ()
    endpoints: tuple[MeshEndpoint, ...] = ()

    def captured(self) -> frozenset[tuple[str, int]]:
        """Give (address, port) of the meshed endpoints: connections to them enter the mesh."""
        return frozenset((each.address, each.port) for each in self.endpoints if each.meshed)

    def addresses(self) -> dict[str, tuple[str, str]]:
        """Give each name's virtual addresses (IPv4, IPv6); of two services the first by host."""
        found: dict[str, tuple[str, str]] = {}
        for service in self.services:
            for name in service.names:
                found.setdefault(name, (service.vip4, service.vip6))
        return found


def read(generation: Generation) -> MeshFacts:
    """Read the facts. Clusters without our metadata are not services and are passed over."""
    services: set[VirtualService] = set()
    endpoints: set[MeshEndpoint] = set()
    for name in generation.names(CLUSTER):
        resource = generation.get(CLUSTER, name)
        cluster = Cluster.FromString(resource.body if resource else b"")
        if names.METADATA_NAMESPACE not in cluster.metadata.filter_metadata:
            continue
        service = _service(cluster)
        services.add(service)
        assignment = generation.get(ENDPOINT, cluster.eds_cluster_config.service_name or name)
        if assignment is not None:
            endpoints.update(_endpoints(cluster, assignment.body, service.host))
    return MeshFacts(tuple(sorted(services)), tuple(sorted(endpoints)))


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


def _endpoints(cluster: Cluster, body: bytes, host: str) -> set[MeshEndpoint]:
    # Without a word on the endpoint the cluster decides: sockets for TLS, or none at all.
    secured = bool(cluster.transport_socket_matches) or cluster.HasField("transport_socket")
    found = set()
    for locality in ClusterLoadAssignment.FromString(body).endpoints:
        for each in locality.lb_endpoints:
            meshed = _stated_mode(each, default=secured)
            addresses = [each.endpoint.address]
            addresses += [more.address for more in each.endpoint.additional_addresses]
            for address in addresses:
                socket = address.socket_address
                found.add(MeshEndpoint(socket.address, socket.port_value, host, meshed))
    return found


def _stated_mode(endpoint: LbEndpoint, *, default: bool) -> bool:
    stated = endpoint.metadata.filter_metadata
    if names.TLS_MODE_METADATA not in stated:
        return default
    fields = stated[names.TLS_MODE_METADATA].fields
    return bool(fields[names.TLS_MODE_KEY].string_value == names.TLS_MODE_MESH)
