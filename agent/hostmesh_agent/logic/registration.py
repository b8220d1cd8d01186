"""What this host tells the registry: declare first, register once proven, and only while captured.

Values and functions: each gives the next state and the messages to send. `Register` is complete and
carries every service's health, so a `HealthReport` is only sent for what changes in between.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hostmesh_agent.config import AgentConfig, PortsConfig, ServiceConfig, ServiceKey, Upstream
from hostmesh_agent.logic.health import AppHealth
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.ids import Identity

SETTLE_SECONDS = 5.0
"""An agent that restarts finds a living Envoy and its rules in about one."""

Message = pb.Register | pb.HealthReport


@dataclass(frozen=True, slots=True)
class Place:
    """Where this host is and what it is called from outside; empty = not stated."""

    region: str = ""
    zone: str = ""
    network: str = ""
    addresses: tuple[str, ...] = ()
    """The addresses of its interfaces, loopback and the proxy's own left out."""


@dataclass(frozen=True, slots=True)
class State:
    """All that decides what is registered."""

    services: tuple[ServiceConfig, ...] = ()
    outbound: tuple[tuple[int, Identity], ...] = ()
    """Outbound capture port -> identity; empty = the grant's only one on the default port."""
    place: Place = Place()
    upstreams: tuple[Upstream, ...] = ()
    ports: PortsConfig = PortsConfig()  # noqa: RUF009 (frozen value)
    stated: Identity | None = None
    """`outbound.default_identity` as agent.yaml has it."""
    explicit_mode: bool = False
    """Whether no kernel rule redirects anything to this instance's Envoy."""
    proven: frozenset[ServiceKey] = frozenset()
    """Services whose proof request has reached the app (DESIGN 3)."""
    leaving: frozenset[ServiceKey] = frozenset()
    """Services that drain: declared, so that their chains stay, and not registered again."""
    uncaptured: str | None = None
    """Why Envoy or the rules are not there; None = they are."""
    settled: bool = False
    """Whether this agent has seen how Envoy and rules are. Before, what an earlier agent left is
    trusted: both outlive an agent, and its restart must take nobody out."""
    health: Mapping[ServiceKey, AppHealth] = field(default_factory=dict)


Step = tuple[State, tuple[Message, ...]]


def start(config: AgentConfig, place: Place, *, granted: Identity | None) -> Step:
    """Declare every service of the configuration. `granted`: the grant's only identity."""
    state = State(
        config.services,
        _outbound(config, granted),
        place,
        upstreams=config.upstreams,
        stated=config.outbound.default_identity,
        ports=config.ports,
        explicit_mode=not config.capture.enabled,
    )
    return state, (register(state),)


def configured(
    state: State,
    config: AgentConfig,
    services: Sequence[ServiceConfig],
    *,
    granted: Identity | None = None,
) -> Step:
    """Take in a changed configuration; what changed itself is to be proven again.

    `services` are to be declared: those of the configuration, and others that are about to go.
    What is about to go and drains does so still; what is to stay is served again.
    """
    same = {s.key for s in services if s in state.services}
    keys = {service.key for service in services}
    stay = {service.key for service in config.services}
    stated = config.outbound.default_identity
    after = replace(
        state,
        services=tuple(services),
        # The grant's only identity may be one of several by now: it speaks on until agent.yaml
        # says otherwise.
        outbound=state.outbound if stated == state.stated else _outbound(config, granted),
        stated=stated,
        upstreams=config.upstreams,
        proven=state.proven & same,
        leaving=(state.leaving & same) - stay,
        health={key: health for key, health in state.health.items() if key in keys},
    )
    return after, (register(after),)


def _outbound(config: AgentConfig, granted: Identity | None) -> tuple[tuple[int, Identity], ...]:
    default = config.outbound.default_identity or granted
    return ((config.ports.outbound, default),) if default is not None else ()


def moved(state: State, place: Place) -> Step:
    """Take in that the host's addresses changed."""
    if place == state.place:
        return state, ()
    after = replace(state, place=place)
    return after, (register(after),)


def proven(state: State, service: ServiceConfig, health: AppHealth) -> Step:
    """Register a service whose proof has reached the app; its result is the first health."""
    key = service.key
    after = replace(
        state,
        proven=state.proven | {key},
        leaving=state.leaving - {key},
        health={**state.health, key: health},
    )
    return after, (register(after),)


def checked(state: State, service: ServiceConfig, health: AppHealth) -> Step:
    """Take in an app's health."""
    key = service.key
    after = replace(state, health={**state.health, key: health})
    if key not in state.proven or state.uncaptured is not None:
        return after, ()
    return after, (report(after, service),)


def captured(state: State, missing: str | None) -> Step:
    """Take in what of Envoy and the rules is missing; None = Envoy serves and the rules are in.

    An endpoint whose host has lost them must be out at once, also one that an earlier agent process
    registered; that one returns only by its proof.
    """
    if missing == state.uncaptured and (missing is not None or state.settled):
        return state, ()
    told = _proven_of(state) if missing is None else state.services
    after = replace(state, uncaptured=missing, settled=state.settled or missing is None)
    if not after.settled:
        return after, ()
    return after, tuple(report(after, service) for service in told)


def settled(state: State) -> Step:
    """End the time that a new agent has to find what an earlier one left (SETTLE_SECONDS)."""
    after = replace(state, settled=True)
    if state.settled or state.uncaptured is None:
        return after, ()
    return after, tuple(report(after, service) for service in after.services)


def _proven_of(state: State) -> tuple[ServiceConfig, ...]:
    return tuple(service for service in state.services if service.key in state.proven)


def drained(state: State, services: Iterable[ServiceKey] = ()) -> State:
    """Take in that these services (none named = all) deregister; `Drain` itself says so."""
    keys = frozenset(services) or {service.key for service in state.services}
    return replace(state, proven=state.proven - keys, leaving=state.leaving | keys)


def register(state: State) -> pb.Register:
    """Build the complete message."""
    message = pb.Register(host_addresses=state.place.addresses, explicit_mode=state.explicit_mode)
    for port, identity in state.outbound:
        message.outbound.add(
            capture_port=port,
            namespace=identity.namespace,
            service_account=identity.service_account,
        )
    for upstream in state.upstreams:
        message.upstreams.add(
            service=upstream.service,
            port=upstream.port,
            listen_address=upstream.listen.host,
            listen_port=upstream.listen.port,
        )
    if state.ports != PortsConfig():
        message.ports.CopyFrom(_ports(state.ports))
    for service in state.services:
        message.services.append(_declaration(state, service))
    return message


def _ports(own: PortsConfig) -> pb.EnvoyPorts:
    return pb.EnvoyPorts(
        outbound=own.outbound,
        inbound=own.inbound,
        status=own.status,
        readiness=own.readiness,
        prometheus=own.prometheus,
    )


def report(state: State, service: ServiceConfig) -> pb.HealthReport:
    """Build the report of one service's health."""
    status, reason = _status(state, service)
    return pb.HealthReport(
        service=service.name,
        namespace=service.namespace,
        workload_port=service.port,
        status=status,
        reason=reason,
    )


def _declaration(state: State, service: ServiceConfig) -> pb.ServiceRegistration:
    return pb.ServiceRegistration(
        service=service.name,
        namespace=service.namespace,
        service_account=service.service_account,
        port=service.dialled_port,
        endpoint_port=service.endpoint_port,
        workload_port=service.port,
        protocol=service.protocol.value if service.protocol else "",
        server_first=service.server_first,
        addresses=[service.address] if service.address else [],
        labels=dict(service.labels),
        weight=service.weight,
        inbound_mode=service.inbound.value if service.inbound else "",
        listen=service.listen,
        health=_status(state, service)[0],
        region=state.place.region,
        zone=state.place.zone,
        network=state.place.network,
        declared_only=service.key not in state.proven,
    )


def _status(state: State, service: ServiceConfig) -> tuple[pb.Status, str]:
    health = state.health.get(service.key, AppHealth())
    if state.uncaptured is not None and state.settled:
        return pb.STATUS_NOT_CAPTURED, state.uncaptured
    if health.healthy is None or service.key not in state.proven:
        # Nothing is known: what lived before this agent process stays as it is.
        return pb.STATUS_UNSPECIFIED, ""
    return (pb.STATUS_HEALTHY if health.healthy else pb.STATUS_UNHEALTHY), health.reason


def sentences(verdict: pb.Verdict) -> tuple[str, ...]:
    """Say what became of each service and what else the control plane notes, for `status`."""
    return (*(_sentence(service) for service in verdict.services), *verdict.notes)


def _sentence(service: pb.ServiceVerdict) -> str:
    if not service.accepted:
        return service.reason
    at = ", ".join(service.addresses)
    text = (
        f"{service.service} is accepted as {service.host}:{service.port} at {at} "
        f"({service.state or 'plain'}: {service.meshed} of {service.endpoints} meshed)"
    )
    return f"{text}; {service.reason}" if service.reason else text


def untold(verdict: pb.ServiceVerdict | None) -> str:
    """Say why a service that this host registers does not count yet; empty = peers are told."""
    if verdict is not None and verdict.registered:
        return ""
    why = f": {verdict.reason}" if verdict is not None and verdict.reason else ""
    return f"waiting until other hosts are told of it{why}"


def addresses(verdict: pb.Verdict | None, service: ServiceConfig) -> tuple[str, ...]:
    """Give the addresses under which peers dial a service, by the last verdict."""
    item = verdict_of(verdict, service)
    if item is None or not item.accepted:
        return ()
    return tuple(text.rpartition("/")[2].rpartition(":")[0].strip("[]") for text in item.addresses)


def verdict_of(verdict: pb.Verdict | None, service: ServiceConfig) -> pb.ServiceVerdict | None:
    """Find what a verdict says of a service; one whose port moves is declared twice."""
    for item in verdict.services if verdict is not None else ():
        same_port = item.workload_port in (0, service.port)  # 0: of an older control plane
        if same_port and (item.service, item.port) == (service.name, service.dialled_port):
            return item
    return None
