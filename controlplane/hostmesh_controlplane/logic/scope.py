"""Who a stream is, as far as it decides content: the inputs of every render view.

All of it comes from the host record and its accepted registrations, never from what `node` claims;
`node` gives Envoy's version, features and address families only (DESIGN 8).
"""

from dataclasses import dataclass

from hostmesh_core import ports
from hostmesh_core.ids import Identity, SpiffeId
from hostmesh_core.model import InboundMode, Locality, Protocol


@dataclass(frozen=True, slots=True)
class Families:
    """Which address families the proxy's host can use towards others."""

    v4: bool = True
    v6: bool = True
    sockets6: bool = True
    """Whether the host's kernel has IPv6 at all; a bind that fails would end Envoy's listener."""


@dataclass(frozen=True, slots=True)
class EnvoyPorts:
    """The ports of one instance of the agent and its Envoy."""

    outbound: int = ports.OUTBOUND_CAPTURE
    inbound: int = ports.INBOUND_CAPTURE
    status: int = ports.AGENT_STATUS
    readiness: int = ports.READINESS
    prometheus: int = ports.ENVOY_PROMETHEUS

    @property
    def all(self) -> tuple[int, ...]:
        """Every one of them."""
        return (self.outbound, self.inbound, self.status, self.readiness, self.prometheus)


@dataclass(frozen=True, slots=True)
class Scope:
    """What outbound resources depend on. Streams of equal scope share every byte."""

    trust_domain: str
    namespace: str
    """Short names resolve here; empty = none do."""
    identities: tuple[tuple[int, Identity], ...]
    """The secret scheme: outbound capture port -> the identity of what comes in by it."""
    families: Families = Families()
    network: str = ""
    locality: Locality | None = None
    outbound_port: int = ports.OUTBOUND_CAPTURE
    """Where this host's Envoy takes captured connections; the default one's identity is keyed by
    it."""


@dataclass(frozen=True, slots=True, order=True)
class InboundPort:
    """One declared port of the stream's own host, as accepted by the registry."""

    workload_port: int
    protocol: Protocol
    service: str
    """Fully qualified host name of the service."""
    service_port: int
    identity: Identity
    mode: InboundMode
    listen: tuple[str, int] | None = None
    """The app's address and port where it is not the captured original destination."""
    mesh_port: int = 0
    """Explicit mode: Envoy binds this port itself."""
    server_first: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Upstream:
    """A listener of the stream's own host that leads to one port of a service (explicit mode)."""

    listen: str
    """An IP address of the host."""
    listen_port: int
    service: str
    """Fully qualified host name."""
    service_port: int
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class Inbound:
    """What inbound resources depend on: this host's alone."""

    trust_domain: str
    ports: tuple[InboundPort, ...] = ()
    accepted_trust_domains: tuple[str, ...] = ()
    """Whose workloads may connect by mTLS; empty = the own one."""
    ipv6: bool = True
    """Whether the host's kernel has IPv6 sockets."""
    upstreams: tuple[Upstream, ...] = ()
    envoy: EnvoyPorts = EnvoyPorts()
    captured: bool = True
    """False = no rule redirects anything there, so Envoy need not mark its own connections."""


@dataclass(frozen=True, slots=True)
class SpiffeMatch:
    """The SPIFFE ids that a client accepts for one service."""

    ids: tuple[SpiffeId, ...]
