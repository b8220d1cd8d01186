"""One host as the registry remembers it: its streams, its word, and what was decided of it."""

import asyncio
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field

from hostmesh_controlplane.app.host_certificates import CertificateDesk
from hostmesh_controlplane.app.host_connection import HostConnection
from hostmesh_controlplane.logic import own_listeners
from hostmesh_controlplane.logic.allowance import Allowance
from hostmesh_controlplane.logic.claimant import Claimant
from hostmesh_controlplane.logic.declarations import DeclarationKey
from hostmesh_controlplane.logic.own_listeners import OwnListeners
from hostmesh_controlplane.logic.registration import Registration
from hostmesh_controlplane.logic.registry import (
    Accepted,
    Decision,
    Inbound,
    Refusal,
    Surroundings,
    decide,
    outbound_identities,
)
from hostmesh_controlplane.logic.stored_places import Place, places
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.grant import Grant
from hostmesh_core.ids import Identity
from hostmesh_core.model import InboundMode, RegisteredInstance

Settled = asyncio.Future[object] | None
"""Done when the mesh has taken a registration in; None = there was nothing to take in."""

ServiceSummary = tuple[str, int, int]
"""State, meshed endpoints, all endpoints."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one look at a host comes to."""

    registered: Decision = Decision()  # noqa: RUF009 (frozen value)
    declared: Decision = Decision()  # noqa: RUF009
    outbound: tuple[tuple[int, Identity], ...] = ()
    outbound_refused: tuple[Refusal, ...] = ()
    own: OwnListeners = OwnListeners()  # noqa: RUF009

    @property
    def inbound(self) -> tuple[Inbound, ...]:
        """The ports that the host's Envoy may serve."""
        return tuple(item.inbound for item in self.declared.accepted)

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Every refusal once."""
        every = (*self.declared.refused, *self.registered.refused, *self.outbound_refused)
        return tuple(dict.fromkeys(every))

    @property
    def services(self) -> frozenset[str]:
        """Full names of all services that the host names, accepted or not."""
        refused = (refusal.host for refusal in self.refused if refusal.host)
        return frozenset({*self.full_names.values(), *refused})

    @property
    def full_names(self) -> dict[str, str]:
        """Names as the host writes them -> full host names."""
        every = (*self.declared.accepted, *self.registered.accepted)
        return {item.declaration.written: item.declaration.host for item in every}


@dataclass(slots=True)
class Member:
    """Mutable: only `Hosts` changes it, in the event loop."""

    host_id: str
    connection: HostConnection
    desk: CertificateDesk
    registration: Registration = field(default_factory=Registration)
    generation: int = 0
    """Of the last Register that was taken in."""
    decided: int = 0
    """Of the Register that `outcome` is about."""
    outcome: Outcome = Outcome()
    instances: tuple[RegisteredInstance, ...] = ()
    """What the host holds now."""
    told: tuple[RegisteredInstance, ...] = ()
    """What of it the mesh was told: all but what is not stored yet."""
    taken_in: Settled = None
    """Done when the mesh has taken in what it was told last."""
    waits_for_store: bool = False
    """Whether the last Verdict said that something is not stored yet."""
    drains: set[tuple[str, ...]] = field(default_factory=set)
    epoch: int = 0
    allowance: Allowance = field(default_factory=Allowance)

    def begin_session(self) -> None:
        """Forget what only the agent's process before this one knows."""
        self.generation = self.decided = 0
        self.drains.clear()

    def look(self, grant: Grant, around: Surroundings) -> Outcome:
        """Decide anew from everything that is known now."""
        peer = self.connection.peer
        claimant = Claimant(
            host_id=self.host_id,
            grant=grant,
            source=peer.address if peer else "",
            proven=self.connection.proven,
            interfaces=self.registration.interfaces,
        )
        said = self.registration
        declared = decide(said.declared, said.health, claimant, around)
        registered = declared
        # A host that drains still declares, so that its inbound chains stay until it is done.
        drains = len(said.registered) != len(said.declared)
        if drains or any(service.declared_only for service in said.declared):
            part, crowded = said.registered.values(), declared.crowded
            registered = decide(part, said.health, claimant, around, crowded=crowded)
        mesh_ports = {item.inbound.mesh_port for item in declared.accepted}
        own = own_listeners.decide(
            said.upstreams,
            said.ports,
            captured=not said.explicit_mode,
            addresses=said.interfaces,
            mesh_ports=mesh_ports,
        )
        outbound, refused = outbound_identities(said.outbound, grant, port=own.ports.outbound)
        return Outcome(registered, declared, outbound, refused, own)

    def registered_as(self, keys: Set[DeclarationKey]) -> tuple[RegisteredInstance, ...]:
        """Give what counts and was declared by these."""
        full = self.outcome.full_names
        named = {(full.get(name, name), port) for name, _, port in keys}
        return tuple(one for one in self.instances if (one.service, one.workload_port) in named)

    def withdrawn(
        self, instances: tuple[RegisteredInstance, ...]
    ) -> tuple[RegisteredInstance, ...]:
        """Give what the mesh was told, is not in `instances`, and which the host still registers:
        its right to it has ended.
        """
        refused = {(one.host, one.workload_port) for one in self.outcome.registered.refused}
        left = {(one.service, one.workload_port) for one in instances}
        return tuple(one for one in self.told if (one.service, one.workload_port) in refused - left)

    @property
    def untold(self) -> frozenset[Place]:
        """What it holds and the mesh does not know of yet."""
        return places(self.instances) - places(self.told)

    def verdict(
        self,
        summary: Callable[[str], ServiceSummary],
        mode: Callable[[str, InboundMode | None], InboundMode],
        notes: Iterable[str] = (),
        *,
        waits: str = "",
    ) -> pb.Verdict:
        """Tell the host what became of the Register decided last. `notes`: what the mesh adds to
        it; `waits`: why it is not told of what this host holds.
        """
        verdict = pb.Verdict(generation=self.decided, notes=[*self.outcome.own.notes, *notes])
        untold, told = self.untold, places(self.told)
        for item in self.outcome.declared.accepted:
            accepted = _accepted(item, summary(item.declaration.host))
            held = {(item.declaration.host, key) for key in item.keys}
            accepted.registered = held <= told
            if held & untold:
                accepted.reason = "; ".join(filter(None, (item.note, waits)))
            accepted.inbound = mode(item.declaration.host, item.inbound.mode).value
            verdict.services.append(accepted)
        for refusal in self.outcome.declared.refused:
            verdict.services.add(
                service=refusal.service,
                port=refusal.port,
                workload_port=refusal.workload_port,
                accepted=False,
                reason=refusal.reason,
            )
        return verdict


def _accepted(item: Accepted, summary: ServiceSummary) -> pb.ServiceVerdict:
    state, meshed, endpoints = summary
    return pb.ServiceVerdict(
        service=item.declaration.written,
        port=item.declaration.port,
        workload_port=item.declaration.workload_port,
        accepted=True,
        reason=item.note,
        addresses=[str(key) for key in item.keys],
        host=item.declaration.host,
        state=state,
        meshed=meshed,
        endpoints=endpoints,
    )
