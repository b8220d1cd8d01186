"""From what runs to what agent.yaml says now: what is new, what is replaced, and in what order.

Pure. A port belongs to one service, so what takes over another one's port, and what cannot change
while peers use it, waits until the old one is deregistered and applied: it is *late*. Everything
else stands beside the old one first, so that at no moment peers have nobody to call.
"""

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, fields

from hostmesh_agent.config import AgentConfig, ServiceConfig, ServiceKey
from hostmesh_core.model import InboundMode

START_AGAIN = "end `hostmesh-agent run --all` with SIGTERM and start it again"


@dataclass(frozen=True, slots=True)
class Gone:
    """A declaration that is to go."""

    old: ServiceConfig
    successor: ServiceKey | None
    """What has to be registered before it may go; None = nothing takes its place."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What may be done once it is known which new services are registered."""

    drained: tuple[ServiceConfig, ...]
    """To be deregistered now."""
    kept: tuple[ServiceConfig, ...]
    """They stay as they are: what is to take their place is not registered."""
    declared: tuple[ServiceConfig, ...]
    """What is declared from then on, until the rules of what drains are out."""
    last: tuple[ServiceConfig, ...]
    """What is declared in the end."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the configuration."""

    before: tuple[ServiceConfig, ...]
    wanted: tuple[ServiceConfig, ...]
    gone: tuple[Gone, ...]
    late: frozenset[ServiceKey]

    @property
    def first(self) -> tuple[ServiceConfig, ...]:
        """What is declared while old and new are both there."""
        return (
            *(service for service in self.wanted if service.key not in self.late),
            *(gone.old for gone in self.gone),
        )

    @property
    def new(self) -> tuple[ServiceConfig, ...]:
        """Whatever does not run like this already."""
        return tuple(service for service in self.wanted if service not in self.before)

    def settle(self, registered: Set[ServiceKey]) -> Settled:
        """Let go what has its successor, or needs none; keep the rest."""
        waits = {g.old.key for g in self.gone if g.successor and g.successor not in registered}
        olds = tuple(gone.old for gone in self.gone)
        kept = tuple(old for old in olds if old.key in waits)
        held = {old.endpoint_port for old in kept}
        now = tuple(
            service
            for service in self.wanted
            if service.key not in self.late or service.endpoint_port not in held
        )
        arriving = {service.key for service in now} & self.late
        taken = {s.endpoint_port for s in now if s.key in arriving}
        still = tuple(o for o in olds if o.endpoint_port not in taken and o.key not in arriving)
        drained = tuple(old for old in olds if old.key not in waits)
        return Settled(drained, kept, declared=(*now, *still), last=(*now, *kept))

    def sentences(self) -> tuple[str, ...]:
        """Say what changes, a line per service, for people."""
        return tuple(_sentences(self))


def between(running: Iterable[ServiceConfig], wanted: Iterable[ServiceConfig]) -> Change:
    """Compare what is declared now with what is wanted."""
    before, after = tuple(running), tuple(wanted)
    by_key = {service.key: service for service in after}
    olds = [old for old in before if not _stays(old, by_key.get(old.key))]
    taken = {old.endpoint_port for old in olds}
    standing = {old.key for old in before if old not in olds}
    late = frozenset(
        service.key
        for service in after
        if service.key not in standing
        and (service.endpoint_port in taken or any(old.key == service.key for old in olds))
    )
    gone = tuple(Gone(old, _successor(old, after, late)) for old in olds)
    return Change(before, after, gone, late)


def _stays(old: ServiceConfig, new: ServiceConfig | None) -> bool:
    """Whether a declaration can become the new one while peers use it."""
    if new is None:
        return False
    leaves = new.inbound is InboundMode.DISABLE and old.inbound is not InboundMode.DISABLE
    same = (old.endpoint_port, old.service_account) == (new.endpoint_port, new.service_account)
    return same and not leaves


def _successor(
    old: ServiceConfig, wanted: tuple[ServiceConfig, ...], late: Set[ServiceKey]
) -> ServiceKey | None:
    """Find what takes an old one's place: the same service, by the port that clients dial if so."""
    found = [
        new
        for new in wanted
        if (new.name, new.namespace) == (old.name, old.namespace)
        and new.key not in late
        and new.inbound is not InboundMode.DISABLE
    ]
    found.sort(key=lambda new: new.dialled_port != old.dialled_port)
    return found[0].key if found else None


def _sentences(change: Change) -> Iterator[str]:
    moved = {gone.successor: gone.old for gone in change.gone if gone.successor}
    before = {service.key: service for service in change.before}
    gone = {(g.old.name, g.old.namespace) for g in change.gone}
    for service in change.new:
        if service.key in moved:
            yield f"{service.name}: port {moved[service.key].port} -> {service.port}"
        elif service.key in before:
            changed = ", ".join(_differing(before[service.key], service))
            beside = "; out of the mesh for a moment" if service.key in change.late else ""
            yield f"{service.name}: {changed}{beside}"
        elif (service.name, service.namespace) in gone:
            yield f"{service.name}: replaced on port {service.port}"
        else:
            yield f"{service.name}: added on port {service.port}"
    wanted = {(service.name, service.namespace) for service in change.wanted}
    for one in change.gone:
        if (one.old.name, one.old.namespace) not in wanted:
            yield f"{one.old.name}: removed from port {one.old.port}"
        elif one.successor is not None and one.successor in before:
            yield f"{one.old.name}: no longer on port {one.old.port}"


def _differing(old: ServiceConfig, new: ServiceConfig) -> list[str]:
    names = (field.name for field in fields(ServiceConfig))
    return [name for name in names if getattr(old, name) != getattr(new, name)]


def fixed(old: AgentConfig, new: AgentConfig) -> tuple[str, ...]:
    """Say what a running agent cannot change, a sentence each; none = all of it can be."""
    told = []
    if old.capture.enabled != new.capture.enabled:
        told.append(
            "cannot switch capture.enabled while the agent runs: callers would lose their way "
            f"in; {START_AGAIN}"
        )
    if old.ports != new.ports:
        told.append(
            f"cannot change ports: while the agent runs: Envoy has bound them; {START_AGAIN}"
        )
    if old.envoy != new.envoy:
        named = ", ".join(
            f"envoy.{field.name}"
            for field in fields(old.envoy)
            if getattr(old.envoy, field.name) != getattr(new.envoy, field.name)
        )
        told.append(f"cannot change {named} while the agent runs: {START_AGAIN}")
    return tuple(told)
