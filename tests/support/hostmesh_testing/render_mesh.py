"""Sample services, scopes and inbound ports for the tests of rendering."""

from dataclasses import replace

from hostmesh_controlplane.logic.publication import Publication
from hostmesh_controlplane.logic.scope import Inbound, InboundPort, Scope
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId
from hostmesh_core.model import (
    Endpoint,
    InboundMode,
    MeshChange,
    Port,
    Protocol,
    Service,
    ServiceState,
)

TRUST_DOMAIN = "mesh.internal"
SHOP = Identity("default", "shop")
BATCH = Identity("default", "batch")
HOST_ID = "0" * 31 + "1"

SCOPE = Scope(trust_domain=TRUST_DOMAIN, namespace="default", identities=((15001, SHOP),))
TWO_IDENTITIES = replace(SCOPE, identities=((15001, SHOP), (15101, BATCH)))
NO_IDENTITY = replace(SCOPE, identities=())


def spiffe(account: str, namespace: str = "default") -> SpiffeId:
    """Give the id of a workload of the test domain."""
    return SpiffeId.of_workload(TRUST_DOMAIN, Identity(namespace, account))


def endpoint(address: str, port: int, *, service: str = "", **changes: object) -> Endpoint:
    """Give an instance on its service's own port; with `service`, one that is registered."""
    made = Endpoint(key=EndpointKey.of(address, port), service_port=port, workload_port=port)
    if service:
        made = replace(made, identity=spiffe(service))
    return replace(made, **changes)  # type: ignore[arg-type]


def service(name: str, *endpoints: Endpoint, number: int = 1, **changes: object) -> Service:
    """Give an HTTP service in state mesh, `number` making its addresses its own."""
    made = Service(
        host=f"{name}.default.{TRUST_DOMAIN}",
        namespace="default",
        ports=(Port(9080, Protocol.HTTP, "http"),),
        vip4=f"240.240.0.{number}",
        vip6=f"fd48:6d65:7368::{number:x}",
        aliases=(f"{name}.service.consul",),
        short_name=name,
        state=ServiceState.MESH,
        identities=(spiffe(name),),
        endpoints=endpoints,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def inbound_port(number: int, **changes: object) -> InboundPort:
    """Give a PERMISSIVE HTTP port of the service reviews."""
    made = InboundPort(
        workload_port=number,
        protocol=Protocol.HTTP,
        service=f"reviews.default.{TRUST_DOMAIN}",
        service_port=number,
        identity=Identity("default", "reviews"),
        mode=InboundMode.PERMISSIVE,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def inbound(*ports: InboundPort) -> Inbound:
    """Give what a host serves."""
    return Inbound(trust_domain=TRUST_DOMAIN, ports=ports)


def added(*services: Service) -> list[MeshChange]:
    """Give the changes that bring services."""
    return [MeshChange(each.host, None, each) for each in services]


def published(*services: Service) -> Publication:
    """Give a publication of these services."""
    publication = Publication()
    publication.apply(added(*services))
    return publication
