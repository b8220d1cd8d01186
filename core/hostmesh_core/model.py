"""The mesh as values: what every catalog is translated into and every Envoy resource comes from.

DESIGN: a service is one host name, whoever lists it; an endpoint is one key (network, address,
port), whoever lists it. A change is a new value; nothing here is ever mutated.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from hostmesh_core.ids import EndpointKey, SpiffeId

MAX_SERVICES = 256
"""Declarations of one host: each port of a service is one."""
MAX_PORTS = 64
"""Ports of one service on one host: a process per core is that many. Each has resources of its own
in every client's proxy, and a grant of one service must not stand for hundreds.
"""

Labels = tuple[tuple[str, str], ...]
"""Sorted pairs: hashable, and the same whatever order they were written in."""


def labels_of(mapping: dict[str, str]) -> Labels:
    """Give labels in their one canonical order."""
    return tuple(sorted(mapping.items()))


class Protocol(StrEnum):
    """What is spoken on a port. `https` is the app's own TLS and travels as opaque TCP."""

    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    HTTPS = "https"
    TCP = "tcp"

    @property
    def is_http(self) -> bool:
        """Whether Envoy reads requests on it."""
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC)


class Health(StrEnum):
    """An endpoint's health. Ordered by `worst`."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"

    @classmethod
    def worst(cls, *of: "Health") -> "Health":
        """Give the worst of several; healthy where there is none."""
        return max(of, key=list(cls).index, default=cls.HEALTHY)


class ServiceState(StrEnum):
    """How far a service is in the mesh (DESIGN 5): stored, sticky, and raised by operators only."""

    PLAIN = "plain"
    MIXED = "mixed"
    MESH = "mesh"


class InboundMode(StrEnum):
    """What a host's own Envoy accepts on an inbound port."""

    PERMISSIVE = "permissive"
    STRICT = "strict"
    DISABLE = "disable"


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """Where an endpoint is, widest first; empty text = not stated."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A port of a service, as its clients dial it."""

    number: int
    protocol: Protocol = Protocol.TCP
    name: str = ""
    protocol_defaulted: bool = False
    """True where nobody stated a protocol and it fell to tcp: `services` says so."""
    server_first: bool = False
    """The server speaks first, so nothing may wait for the client's first bytes."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a catalog's word about an endpoint was written. For people: no client is sent it."""

    file: str = ""
    """`file:line`, of a static document."""
    node: str = ""
    """Consul's name of the node that it was registered on."""
    service_id: str = ""
    since: float = field(default=0.0, compare=False)
    """Wall clock, when this control plane first saw it listed here; 0 = not known. Not compared:
    that time passes is no change of the mesh."""

    def __str__(self) -> str:
        """Give `file:line`, or node and id."""
        if self.file or not self.node:
            return self.file
        return f"node {self.node} ({self.service_id})" if self.service_id else f"node {self.node}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One instance of one port of a service."""

    key: EndpointKey
    service_port: int
    """The service's port number (`Port.number`) that this endpoint serves."""
    workload_port: int
    """The app's own port; differs from `key.port` behind a `mesh_port`."""
    additional: tuple[EndpointKey, ...] = ()
    """The same instance's keys in the other address family; one LbEndpoint all the same."""
    locality: Locality = Locality()
    datacenter: str = ""
    weight: int = 1
    health: Health = Health.HEALTHY
    reasons: tuple[str, ...] = ()
    """Why the health is what it is, one text per source that says so."""
    identity: SpiffeId | None = None
    """Set by a live registration alone, never by catalog metadata: set = meshed = mTLS only."""
    host_id: str = ""
    labels: Labels = ()
    sources: tuple[str, ...] = ()
    """Names of the sources that list it, by precedence; a live registration is `registered`."""
    held: bool = False
    """No source lists it any more, but its source may be telling less than the truth."""
    origins: tuple[tuple[str, Origin], ...] = ()
    """By source, where it is written."""

    @property
    def meshed(self) -> bool:
        """Whether it is reached by mutual TLS, and by nothing else."""
        return self.identity is not None


@dataclass(frozen=True, slots=True)
class Withheld:
    """An endpoint that a source lists and no client gets, and why."""

    key: EndpointKey
    source: str
    reason: str
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the mesh after merging: the unit of change."""

    host: str
    """Fully qualified, lower case, no final dot; the key."""
    namespace: str
    ports: tuple[Port, ...] = ()
    vip4: str = ""
    vip6: str = ""
    aliases: tuple[str, ...] = ()
    """Further full names, such as `<service>.service.consul`."""
    short_name: str = ""
    """First label of a mesh name (`reviews`): resolves in its own namespace; else empty."""
    state: ServiceState = ServiceState.PLAIN
    inbound: InboundMode | None = None
    """Set for this service alone; None = the mesh-wide mode."""
    identities: tuple[SpiffeId, ...] = ()
    """The SPIFFE ids that clients accept: from configuration, never from what endpoints claim."""
    endpoints: tuple[Endpoint, ...] = ()
    """Sorted by key. In state mesh the unmeshed ones are here too: `reachable` leaves them out."""
    withheld: tuple[Withheld, ...] = ()
    sources: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    """Sentences: where sources disagree and which one won."""

    @property
    def reachable(self) -> tuple[Endpoint, ...]:
        """The endpoints that meshed clients may be given."""
        if self.state is not ServiceState.MESH:
            return self.endpoints
        return tuple(endpoint for endpoint in self.endpoints if endpoint.meshed)

    def port(self, number: int) -> Port | None:
        """Give the port of this number."""
        return next((port for port in self.ports if port.number == number), None)


@dataclass(frozen=True, slots=True)
class RegisteredInstance:
    """One service of one host after every check of the grant: what a live lease stands for."""

    host_id: str
    service: str
    """Fully qualified host name."""
    namespace: str
    port: Port
    """The service's port, with the protocol that the host declared."""
    keys: tuple[EndpointKey, ...]
    """One per address family, the first one is the endpoint's key."""
    workload_port: int
    identity: SpiffeId
    weight: int = 1
    locality: Locality = Locality()
    labels: Labels = ()
    health: Health = Health.HEALTHY
    reasons: tuple[str, ...] = ()
    require_mesh: bool = False
    """The token that this host came with says so: the service is born in state mesh."""


@dataclass(frozen=True, slots=True)
class MeshChange:
    """One service before and after; both None never happens."""

    host: str
    before: Service | None
    after: Service | None
