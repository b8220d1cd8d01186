"""What each resource depends on, and nothing else: the views and the facts of a service.

A resource is a pure function of (view, facts). The view is the part that the asking stream
decides, and the cache key; the facts are the part that the service decides, and what a change
is compared by: equal facts, equal bytes, nothing to send. A generator gets these two and no
more, so an unaccounted input cannot slip in (DESIGN 8).
"""

from dataclasses import dataclass

from hostmesh_controlplane.logic.scope import Inbound, InboundPort, Scope, Upstream
from hostmesh_core import ports
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId
from hostmesh_core.model import (
    Endpoint,
    Health,
    InboundMode,
    Locality,
    Protocol,
    Service,
    ServiceState,
)

Identities = tuple[tuple[int, Identity], ...]


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What a stream decides about an outbound cluster."""

    namespace: str
    trust_domain: str
    identities: Identities

    @classmethod
    def of(cls, scope: Scope, facts: "ClusterFacts") -> "ClusterView":
        """Take from the scope what this cluster reads; a plain service needs no certificates."""
        local = scope.namespace if scope.namespace == facts.namespace else ""
        if facts.state is ServiceState.PLAIN:
            return cls(local, "", ())
        return cls(local, scope.trust_domain, scope.identities)


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What a service's port decides about its outbound cluster."""

    host: str
    namespace: str
    port: int
    protocol: Protocol
    state: ServiceState
    vip4: str
    vip6: str
    aliases: tuple[str, ...]
    short_name: str
    accepted: tuple[SpiffeId, ...]

    @classmethod
    def of(cls, service: Service, port: int, protocol: Protocol) -> "ClusterFacts":
        """Take from the service what its clients' clusters read."""
        return cls(
            host=service.host,
            namespace=service.namespace,
            port=port,
            protocol=protocol,
            state=service.state,
            vip4=service.vip4,
            vip6=service.vip6,
            aliases=service.aliases,
            short_name=service.short_name,
            accepted=service.identities if service.state is not ServiceState.PLAIN else (),
        )


@dataclass(frozen=True, slots=True)
class EndpointView:
    """What a stream decides about a load assignment."""

    v4: bool
    v6: bool
    network: str

    @classmethod
    def of(cls, scope: Scope) -> "EndpointView":
        """Take from the scope what load assignments read."""
        return cls(scope.families.v4, scope.families.v6, scope.network)


@dataclass(frozen=True, slots=True)
class LbEndpointFacts:
    """What one instance decides about its place in a load assignment."""

    keys: tuple[EndpointKey, ...]
    meshed: bool
    weight: int
    locality: Locality

    @classmethod
    def of(cls, endpoint: Endpoint) -> "LbEndpointFacts":
        """Take from the endpoint what balancing reads."""
        keys = (endpoint.key, *endpoint.additional)
        return cls(keys, endpoint.meshed, endpoint.weight, endpoint.locality)


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What a service's port decides about its load assignment."""

    host: str
    port: int
    mixed: bool
    """Whether each endpoint's mode decides how it is reached, and not the cluster."""
    endpoints: tuple[LbEndpointFacts, ...]

    @classmethod
    def of(cls, service: Service, port: int) -> "EndpointFacts":
        """Take the port's endpoints that may be called: reachable, and not unhealthy.

        An unhealthy one is left out and not marked, because a marked one still gets requests
        where Envoy's panic threshold is configured by a rule.
        """
        usable = (
            LbEndpointFacts.of(endpoint)
            for endpoint in service.reachable
            if endpoint.service_port == port and endpoint.health is not Health.UNHEALTHY
        )
        return cls(service.host, port, service.state is ServiceState.MIXED, tuple(usable))


@dataclass(frozen=True, slots=True)
class TcpListenerFacts:
    """A TCP port's listener on the service's virtual addresses; no stream decides anything."""

    host: str
    port: int
    vip4: str
    vip6: str


@dataclass(frozen=True, slots=True)
class DirectFacts:
    """The listener of one address of a registered instance."""

    host: str
    port: int
    key: EndpointKey
    accepted: tuple[SpiffeId, ...]


@dataclass(frozen=True, slots=True)
class DirectView:
    """What a stream decides about the cluster of registered instances' own addresses."""

    trust_domain: str
    identities: Identities

    @classmethod
    def of(cls, scope: Scope) -> "DirectView":
        """Take from the scope whose certificates are used."""
        return cls(scope.trust_domain, scope.identities)


@dataclass(frozen=True, slots=True)
class OutboundView:
    """What the listeners that all services share depend on."""

    vip4_range: str
    vip6_range: str
    ipv6: bool


@dataclass(frozen=True, slots=True)
class CaptureView(OutboundView):
    """What `virtualOutbound` depends on: the one that binds a port of the host."""

    capture_port: int

    @property
    def ports(self) -> tuple[int, ...]:
        """All that it binds, the default identity's first.

        The further identities' are the default instance's: two instances could not both have them.
        """
        pool = ports.IDENTITY_POOL if self.capture_port == ports.OUTBOUND_CAPTURE else ()
        return (self.capture_port, *pool)


@dataclass(frozen=True, slots=True)
class RouteView:
    """What a stream decides about an outbound RouteConfiguration."""

    namespace: str
    anonymous: bool
    """Processes without a declared identity have none: mesh services answer them why."""
    capture_port: int = 0
    """Theirs; 0 where they have one and nobody asks."""

    @classmethod
    def of(cls, scope: Scope) -> "RouteView":
        """Take from the scope what routes read."""
        port = scope.outbound_port
        anonymous = port not in dict(scope.identities)
        return cls.seen(scope.namespace, anonymous=anonymous, capture_port=port)

    @classmethod
    def seen(cls, namespace: str, *, anonymous: bool, capture_port: int) -> "RouteView":
        """Leave out what is not read."""
        return cls(namespace, anonymous, capture_port if anonymous else 0)


@dataclass(frozen=True, slots=True)
class VirtualHostView:
    """What the stream and the other services of the port leave of a virtual host."""

    domains: tuple[str, ...]
    anonymous: bool
    capture_port: int


@dataclass(frozen=True, slots=True)
class VirtualHostFacts:
    """What a service decides about its virtual host on one port."""

    host: str
    namespace: str
    port: int
    meshed: bool
    vip4: str
    vip6: str
    aliases: tuple[str, ...]
    short_name: str

    @classmethod
    def of(cls, service: Service, port: int) -> "VirtualHostFacts":
        """Take from the service what routing by host name reads."""
        return cls(
            host=service.host,
            namespace=service.namespace,
            port=port,
            meshed=service.state is ServiceState.MESH,
            vip4=service.vip4,
            vip6=service.vip6,
            aliases=service.aliases,
            short_name=service.short_name,
        )


@dataclass(frozen=True, slots=True)
class InboundPortView:
    """One inbound port of the stream's own host: its chains, its cluster and its route."""

    port: InboundPort
    trust_domain: str
    accepted: tuple[str, ...]
    """Trust domains whose workloads may connect."""
    ipv6: bool
    captured: bool

    @classmethod
    def all_of(cls, inbound: Inbound) -> tuple["InboundPortView", ...]:
        """Give the host's ports, one per workload port: the first service by name has it.

        Envoy's own ports are left out: a second chain for one of them would be refused, and the
        whole listener with it.
        """
        accepted = inbound.accepted_trust_domains or (inbound.trust_domain,)
        own = ports.ENVOYS_OWN.union(inbound.envoy.all)
        chosen: dict[int, InboundPort] = {}
        for port in sorted(inbound.ports, key=lambda each: (each.service, each.service_port)):
            if port.workload_port not in own:
                chosen.setdefault(port.workload_port, port)
        return tuple(
            cls(chosen[number], inbound.trust_domain, accepted, inbound.ipv6, inbound.captured)
            for number in sorted(chosen)
        )


@dataclass(frozen=True, slots=True)
class InboundView:
    """`virtualInbound` and the ports that Envoy binds itself."""

    ports: tuple[InboundPortView, ...]
    ipv6: bool
    capture_port: int

    @property
    def uninspected(self) -> tuple[int, ...]:
        """Ports that the inspectors must not hold up: the server speaks first."""
        return tuple(view.port.workload_port for view in self.ports if is_uninspected(view.port))


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """One listener of the stream's own host that leads to a service."""

    upstream: Upstream
    capture_port: int
    """By which the host's default identity is known."""


def is_uninspected(port: InboundPort) -> bool:
    """Tell whether the port is kept out of the inspectors.

    PERMISSIVE must tell mTLS from plaintext by the client's first bytes, so it cannot be.
    """
    return port.server_first and port.mode is not InboundMode.PERMISSIVE
