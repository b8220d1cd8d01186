"""Whether a service can do without plaintext: who still calls it so, who counts, who says what.

Only an instance's own Envoy counts, so a day without plaintext calls is worth as much as the
youngest of its counts, and nothing for an instance that has no agent (DESIGN 5).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hostmesh_controlplane.logic import service_state
from hostmesh_controlplane.logic.callers import Told
from hostmesh_controlplane.logic.inbounds import mode_of
from hostmesh_controlplane.logic.service_state import Decision, Mark, ServiceRecord
from hostmesh_controlplane.logic.tokens import DEFAULT_NAMESPACE
from hostmesh_core.model import InboundMode, Service, ServiceState

DAY_SECONDS = 86_400.0
NAMED = 5
"""Callers, endpoints or hosts that a sentence names; the tables have them all."""
TOLD_WITHIN_SECONDS = 15
"""By then a host has told: its agent reads Envoy every 2 s and reports every 10 s, and all of it
anew when it reaches a control plane that has just started.
"""
FURTHER = "further addresses"
"""Stands for callers of whom there are more than anybody keeps."""

Modes = Mapping[str, Iterable[InboundMode]]
"""Host name -> what its own agent.yaml says."""


@dataclass(frozen=True, slots=True)
class Count:
    """What one host has told of one of its ports."""

    host_id: str
    host: str
    """Its name, for people."""
    told: Told


@dataclass(frozen=True, slots=True)
class Caller:
    """One address that called without the mesh in the last day, at one host."""

    address: str
    requests: int
    first_seen: float
    last_seen: float
    seen_at: str
    """Host name."""


@dataclass(frozen=True, slots=True)
class Account:
    """All that is known of a service's callers."""

    callers: tuple[Caller, ...] = ()
    """The latest first."""
    mutual_tls: int = 0
    since: float = 0.0
    """From when on every instance that counts has counted; 0 = none does."""
    untold: tuple[str, ...] = ()
    """The endpoints whose hosts have an agent that has not told who calls them, with their host."""
    uncounted: tuple[str, ...] = ()
    """All the endpoints of which it is not known who calls them, and why: those without an agent
    too."""

    def hours(self, now: float) -> float:
        """Give for how long all of them have counted."""
        return (now - self.since) / 3600 if self.since else 0.0

    def is_young(self, now: float) -> bool:
        """Whether it says less than a day can."""
        return now - self.since < DAY_SECONDS


def account(
    service: Service, counts: Sequence[Count], *, now: float, named: Callable[[str], str]
) -> Account:
    """Put together what the hosts of a service have told. `named` names a host by its id."""
    found = [caller for count in counts for caller in _callers(count, now)]
    counting = {(count.host_id, count.told.workload_port) for count in counts}
    agents = [endpoint for endpoint in service.endpoints if endpoint.host_id]
    untold = tuple(
        f"{one.key} on {named(one.host_id)}"
        for one in agents
        if (one.host_id, one.workload_port) not in counting
    )
    return Account(
        callers=tuple(sorted(found, key=lambda c: (-c.last_seen, c.address, c.seen_at))),
        mutual_tls=sum(count.told.mutual_tls for count in counts),
        since=max((count.told.since for count in counts), default=0.0),
        untold=untold,
        uncounted=(
            *(f"{where} has not told yet" for where in untold),
            *(f"{one.key} has no agent" for one in service.endpoints if not one.host_id),
        ),
    )


def _callers(count: Count, now: float) -> Iterable[Caller]:
    told, began = count.told, now - DAY_SECONDS
    for seen in told.callers:
        if seen.last_seen >= began:
            yield Caller(seen.address, seen.requests, seen.first_seen, seen.last_seen, count.host)
    more = told.plaintext - sum(seen.requests for seen in told.callers)
    if more > 0 and told.last_plaintext >= began:
        yield Caller(FURTHER, more, told.since, told.last_plaintext, count.host)


# Decisions.


def strict(
    service: Service,
    record: ServiceRecord,
    known: Account,
    *,
    now: float,
    force: bool,
    mark: Mark,
) -> Decision:
    """Let the service's Envoys refuse plaintext; without `force` not while somebody calls so, or
    while an instance that could say who does has not said it.
    """
    objection = (
        "" if force or record.inbound is InboundMode.STRICT else _objection(service, known, now)
    )
    if objection:
        return Decision(record, refused=f"cannot make {service.host} strict: {objection}")
    return Decision(service_state.set_inbound(record, InboundMode.STRICT, mark))


def permissive(record: ServiceRecord, *, mark: Mark) -> Decision:
    """Let the service's Envoys take plaintext too, whatever the mesh-wide mode is."""
    return Decision(service_state.set_inbound(record, InboundMode.PERMISSIVE, mark))


def _objection(service: Service, known: Account, now: float) -> str:
    host = service.host
    if known.callers:
        named = ", ".join(_caller(one, now) for one in known.callers[:NAMED])
        count, more = len(known.callers), len(known.callers) - NAMED
        more_text = f" and {more} more" if more > 0 else ""
        whom = "1 caller came" if count == 1 else f"{count} callers came"
        return (
            f"{whom} without the mesh in the last 24 h: {named}{more_text}; join them, or shut "
            f"them out with `hostmesh service strict {host} --force`"
        )
    if known.untold:
        return (
            f"who calls {_few(known.untold)} has not been told yet; that takes up to "
            f"{TOLD_WITHIN_SECONDS} s after a host has joined or reached a control plane that has "
            "just started: ask again then, or go without knowing with "
            f"`hostmesh service strict {host} --force`"
        )
    if not known.since:
        return (
            "none of its instances counts its callers, so nobody knows who would be shut out; join "
            f"one with `{join_command(service)}`, or add --force"
        )
    return ""


def _caller(one: Caller, now: float) -> str:
    requests = "1 request" if one.requests == 1 else f"{one.requests} requests"
    return f"{one.address} ({requests}, the last {ago(now - one.last_seen)} ago at {one.seen_at})"


def warnings(service: Service, known: Account, *, now: float) -> list[str]:
    """Say what the count cannot know."""
    found = []
    if known.since and known.is_young(now):
        found.append(
            f"callers are counted at every instance for {ago(now - known.since)} only: who calls "
            "once a day may not have come yet"
        )
    if known.uncounted:
        found.append(f"the callers of these are not counted: {_few(known.uncounted)}")
    if service.state is ServiceState.PLAIN:
        found.append("no instance is in the mesh: it takes effect at each one that joins")
    return found


def strict_modes(own: Modes) -> list[str]:
    """Say whose own file is overruled by an operator's strict."""
    return [
        f"agent.yaml of {host} says inbound: {_modes(modes)}; an operator's strict counts before it"
        for host, modes in _but(own, InboundMode.STRICT)
    ]


def permissive_modes(own: Modes) -> list[str]:
    """Say whose own file counts before an operator's permissive."""
    return [
        f"agent.yaml of {host} says inbound: {_modes(modes)}, and that counts there"
        for host, modes in _but(own, InboundMode.PERMISSIVE)
    ]


def _but(own: Modes, mode: InboundMode) -> list[tuple[str, list[InboundMode]]]:
    others = ((host, sorted(set(modes) - {mode})) for host, modes in sorted(own.items()))
    return [(host, modes) for host, modes in others if modes][:NAMED]


def _modes(modes: Iterable[InboundMode]) -> str:
    return " and ".join(mode.value for mode in modes)


def _few(texts: Sequence[str]) -> str:
    more = len(texts) - NAMED
    return ", ".join(texts[:NAMED]) + (f" and {more} more" if more > 0 else "")


# What is shown.


def in_force(service: Service, own: Modes, mesh_wide: InboundMode) -> str:
    """Give the mode that holds, and the hosts where another one does."""
    usual = mode_of(None, service.inbound, mesh_wide)
    others = [
        f"{mode.value} at {host}"
        for host, modes in sorted(own.items())
        for mode in sorted({mode_of(mode, service.inbound, mesh_wide) for mode in modes})
        if mode is not usual
    ]
    return ", ".join([usual.value, *others[:NAMED]])


def join_command(service: Service) -> str:
    """Give the command that makes a token for one more host of a service: it names the service as
    the grant must, which is held against what that host registers.
    """
    elsewhere = service.namespace not in ("", DEFAULT_NAMESPACE)
    namespace = f" --namespace {service.namespace}" if elsewhere else ""
    return f"hostmesh token create --service {service.short_name or service.host}{namespace}"


def next_step(service: Service, known: Account, mesh_wide: InboundMode, *, now: float) -> str:
    """Give the command that brings a service nearer to mutual TLS alone; empty = it is there."""
    unmeshed = sum(not endpoint.meshed for endpoint in service.endpoints)
    join = join_command(service)
    strictly = (service.inbound or mesh_wide) is InboundMode.STRICT
    match service.state:
        case ServiceState.PLAIN:
            return join
        case ServiceState.MIXED if unmeshed:
            return f"join the other {unmeshed}: {join}"
        case _ if not strictly:
            return _toward_strict(service.host, known, now)
        case ServiceState.MIXED:
            return f"hostmesh service require-mesh {service.host}"
        case ServiceState.MESH:
            return ""


def _toward_strict(host: str, known: Account, now: float) -> str:
    if known.callers:
        return f"join its callers: hostmesh service show {host}"
    if known.untold:
        return f"wait until its hosts have told who calls: hostmesh service show {host}"
    early = f" (counted for {ago(now - known.since)})" if known.is_young(now) else ""
    return f"hostmesh service strict {host}{early if known.since else ''}"


def rows(
    callers: Iterable[Caller], who: Callable[[str], str], *, now: float
) -> list[dict[str, object]]:
    """Give the callers as a table and machines have them; `who` names an address."""
    return [
        {
            "address": one.address,
            "caller": who(one.address),
            "requests": one.requests,
            "first_seen": one.first_seen,
            "last_seen": one.last_seen,
            "ago": ago(now - one.last_seen),
            "seen_at": one.seen_at,
        }
        for one in callers
    ]


def who(services: Iterable[str], host: str) -> str:
    """Name a caller by what is known of its address; empty = nothing."""
    named = _few(sorted(services))
    if named and host:
        return f"{named} on {host}"
    return named or (f"host {host}" if host else "")


def ago(seconds: float) -> str:
    """Give a span for people."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
