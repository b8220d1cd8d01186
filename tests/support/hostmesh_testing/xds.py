"""Small resources and a mutable set of them, for tests of the xDS protocol state."""

from collections.abc import Iterable

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_core import type_urls
from hostmesh_core.xds.resource import Resource, resource


class World:
    """Every resource there is right now, as the server sees it."""

    def __init__(self, *resources: Resource) -> None:
        self.by_type: dict[str, dict[str, Resource]] = {}
        for item in resources:
            self.put(item)

    def put(self, item: Resource) -> dict[str, set[str]]:
        """Add or replace; gives the change as the server is told of it."""
        self.by_type.setdefault(item.type_url, {})[item.name] = item
        return {item.type_url: {item.name}}

    def drop(self, type_url: str, name: str) -> dict[str, set[str]]:
        """Take away; gives the change."""
        self.by_type.get(type_url, {}).pop(name, None)
        return {type_url: {name}}

    def get(self, type_url: str, name: str) -> Resource | None:
        return self.by_type.get(type_url, {}).get(name)

    def names(self, type_url: str) -> Iterable[str]:
        return self.by_type.get(type_url, {}).keys()


def cluster(name: str, content: str = "", *, eds: bool = True) -> Resource:
    """A cluster; `content` makes one differ from another."""
    message = Cluster(name=name, alt_stat_name=content)
    if eds:
        message.type = Cluster.EDS
        message.eds_cluster_config.eds_config.ads.SetInParent()
    return resource(type_urls.CLUSTER, name, message.SerializeToString(deterministic=True))


def assignment(name: str, content: int = 0) -> Resource:
    """A load assignment."""
    message = ClusterLoadAssignment(cluster_name=name)
    message.policy.overprovisioning_factor.value = content
    return resource(type_urls.ENDPOINT, name, message.SerializeToString(deterministic=True))


def opaque(type_url: str, name: str, content: str = "") -> Resource:
    """Bytes of any type that nothing decodes."""
    return resource(type_url, name, content.encode())


def ask(
    type_url: str,
    *names: str,
    drop: Iterable[str] = (),
    have: dict[str, str] | None = None,
    nonce: str = "",
    error: str = "",
) -> DeltaDiscoveryRequest:
    """A delta request."""
    request = DeltaDiscoveryRequest(
        type_url=type_url,
        resource_names_subscribe=names,
        resource_names_unsubscribe=drop,
        initial_resource_versions=have or {},
        response_nonce=nonce,
    )
    if error:
        request.error_detail.message = error
    return request


def told(responses: Iterable[DeltaDiscoveryResponse]) -> list[str]:
    """Say in short what responses carry: `CDS +a +b`, `EDS -c`, in order."""
    return [
        " ".join(
            [
                type_urls.SHORT.get(response.type_url, response.type_url),
                *(f"+{item.name}" for item in response.resources),
                *(f"-{name}" for name in response.removed_resources),
            ]
        )
        for response in responses
    ]
