"""What the hosts have registered: decided anew when what it rests on changes.

It rests on the host's word, its grant, the addresses that its streams prove, what catalogs list,
who else holds a key, and the lease.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import Protocol

from hostmesh_controlplane.app.host_contracts import (
    Authorities,
    Clock,
    HostMesh,
    HostsConfig,
)
from hostmesh_controlplane.app.host_door import alone
from hostmesh_controlplane.app.host_member import Member, Outcome, Settled
from hostmesh_controlplane.app.host_turns import Turns
from hostmesh_controlplane.app.registration_store import RegistrationStore
from hostmesh_controlplane.app.telling import Telling, taken_in
from hostmesh_controlplane.logic.declarations import MAX_TEXT
from hostmesh_controlplane.logic.entitlement import Why
from hostmesh_controlplane.logic.leases import Leases
from hostmesh_controlplane.logic.own_listeners import OwnListeners
from hostmesh_controlplane.logic.registration import (
    Registration,
    StoredRegistration,
    key_of_report,
    services_named,
    services_not_declared,
)
from hostmesh_controlplane.logic.registry import Holder, Surroundings
from hostmesh_controlplane.logic.stored_places import places
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import MAX_SERVICES, RegisteredInstance

log = logging.getLogger(__name__)


class Spawn(Protocol):
    """Starts work that outlives the message that asked for it."""

    def __call__(self, work: Coroutine[object, object, None], /) -> object:
        """Start it."""


class Registrations:
    """The registrations of all members, their leases, and who holds which key."""

    def __init__(
        self,
        config: HostsConfig,
        stored: RegistrationStore,
        authorities: Authorities,
        *,
        mesh: HostMesh,
        clock: Clock,
    ) -> None:
        self._config = config
        self._stored = stored
        self._authorities = authorities
        self._mesh = mesh
        self._clock = clock
        self._holders: dict[EndpointKey, Holder] = {}
        self._interested: dict[str, set[str]] = {}
        self._contenders: set[str] = set()
        self.members: dict[str, Member] = {}
        self.leases = Leases(now=clock.monotonic(), seconds=config.lease_seconds)
        self.refusals: Counter[str] = Counter()
        self.spawn: Spawn = _not_running
        self.owner = ""
        self._telling = Telling(mesh, stored, member_of=self.members.get, answer=self._answer)
        self._turns = Turns(
            clock,
            look=self._look_and_say,
            spawn=lambda work: self.spawn(work),
            is_member=lambda member: self.members.get(member.host_id) is member,
        )
        self._around = Surroundings(
            mesh_domain=config.trust_domain,
            catalogued=mesh.catalogued,
            accepted_ids=mesh.accepted_ids,
            holder=self._holders.get,
            reserved=config.virtual_ranges,
        )

    # What a host says.

    def register(self, member: Member, register: pb.Register) -> None:
        """Take in a Register; an older one than the last says nothing."""
        if register.generation < member.generation:
            return
        member.generation = register.generation
        if len(register.services) > MAX_SERVICES:
            self.refuse(member.host_id, Why.UNREADABLE, "a Register with too many services")
            reason = f"cannot register more than {MAX_SERVICES} services"
            verdict = pb.Verdict(generation=register.generation)
            verdict.services.add(service=register.services[0].service, reason=reason)
            member.connection.send(verdict)
            return
        before = member.registration
        member.registration = before.with_register(register)
        self._lease(member)
        self._turns.take(member, answer=True, changed=member.registration.declares_else(before))

    def renew(self, member: Member) -> None:
        """Extend the lease. Where it ended, the host returns with all that it had registered."""
        renewed = self.leases.renew(member.host_id, self._clock.monotonic())
        if not renewed and member.registration.registered:
            self._lease(member)
            self.reconsider(member, answer=True)

    def report(self, member: Member, report: pb.HealthReport) -> None:
        """Take in a service's health; the host's own service, or it is refused."""
        if key_of_report(report) not in member.registration.said:
            text = f"a health report of {report.service[:MAX_TEXT]}, which it does not declare"
            self.refuse(member.host_id, Why.NOT_DECLARED, text)
            return
        before, member.registration = member.registration, member.registration.with_health(report)
        if member.registration.said != before.said:
            self._turns.take(member)

    def drain(self, member: Member, drain: pb.Drain) -> None:
        """Deregister, and answer when every subscriber has applied it. Asked again: once.

        A drain that names a service of others drains the host's own and is answered incomplete.
        """
        about = tuple(sorted(drain.services))
        if about in member.drains:
            return
        member.drains.add(about)
        foreign = services_not_declared(member.registration, member.outcome.full_names, about)
        if foreign:
            named = ", ".join(foreign)[:MAX_TEXT]
            text = f"a drain of {named}, which it does not declare"
            self.refuse(member.host_id, Why.NOT_DECLARED, text)
        written = services_named(member.registration, member.outcome.full_names, about)
        gone = member.registered_as(written) if about else member.instances
        if written or not about:
            member.registration = member.registration.without(written)
        self._lease(member)
        settled = self._turns.take(member)
        log.info("host drains host=%s services=%r", member.host_id, about or "all")
        self.spawn(self._drained(member, about, settled, gone, own=not foreign))

    async def _drained(
        self,
        member: Member,
        about: tuple[str, ...],
        settled: Settled,
        gone: tuple[RegisteredInstance, ...],
        *,
        own: bool,
    ) -> None:
        complete = False
        try:
            async with asyncio.timeout(self._config.drain_seconds):
                await taken_in(settled)
                complete = not gone or await self._mesh.drained(member.host_id, gone)
                await self._stored.flushed()
        except TimeoutError:
            log.warning("host not drained in time host=%s", member.host_id)
        member.drains.discard(about)
        member.connection.send(pb.Drained(services=about, complete=complete and own))

    def proven_changed(self, member: Member) -> None:
        """Take that a host's streams come from elsewhere: it connects as often as it likes."""
        self._turns.take(member)

    def _look_and_say(self, member: Member, *, answer: bool) -> Settled:
        settled = self.reconsider(member, answer=answer)
        if answer:
            self._mesh.on_said(member.host_id)
        return settled

    # What changes around it.

    def reconsider(self, member: Member, *, answer: bool = False) -> Settled:
        """Decide anew; tell what differs. Give what the mesh's answer waits on."""
        terms = self._authorities.host(member.host_id)
        if terms is None or terms.revoked:
            return self.cast_out(member)
        before, member.outcome = member.outcome, member.look(terms.grant, self._around)
        member.decided = member.generation
        self._note_refusals(member, before)
        self._note_interest(member, before)
        own_changed = before.own != member.outcome.own
        shown_changed = self._tell_inbound(member, before)
        leased = member.host_id in self.leases
        instances = member.outcome.registered.instances if leased else ()
        settled = None
        if instances != member.instances:
            withdrawn = member.withdrawn(instances)
            freed = self._hold(member, instances)
            self._store(member)
            settled = self._telling.tell(member, withdrawn)
            self._offer(freed)
        elif shown_changed:
            self._store(member)
        if answer or own_changed or before.declared != member.outcome.declared:
            self._answer(member, settled)
        return settled

    def tell_again(self, host_id: str) -> None:
        """Take that what the mesh says about a host's upstreams has changed."""
        member = self.members.get(host_id)
        if member is not None:
            self._answer(member, None)

    def catalog_changed(self, services: Iterable[str]) -> None:
        """Look again at every host that serves one of these: its catalog address may differ."""
        hosts = {host for service in services for host in self._interested.get(service, ())}
        for host in sorted(hosts):
            member = self.members[host]
            alone(member, partial(self.reconsider, member))

    def lease_ended(self, member: Member) -> None:
        """Take a silent host out of the mesh; its word is kept for its return."""
        log.warning("lease ended host=%s instances=%d", member.host_id, len(member.instances))
        member.connection.forget_addresses()
        self._take_out(member)

    def cast_out(self, member: Member) -> Settled:
        """Take a revoked or unknown host out of the mesh, and forget its word."""
        self.leases.release(member.host_id)
        member.registration = Registration()
        before, member.outcome = member.outcome, Outcome()
        self._note_interest(member, before)
        self._tell_inbound(member, before)
        self._contenders.discard(member.host_id)
        settled = self._take_out(member)
        self._stored.put(member.host_id, None)
        return settled

    def forget(self, member: Member) -> None:
        """Drop a host that has neither stream nor lease."""
        before, member.outcome = member.outcome, Outcome()
        self._note_interest(member, before)
        self._contenders.discard(member.host_id)
        del self.members[member.host_id]
        self._mesh.forget(member.host_id)

    def restore(self, member: Member, stored: StoredRegistration) -> None:
        """Take up what was registered before the start, with one full lease."""
        now = self._clock.monotonic()
        member.registration = stored.registration
        member.epoch = stored.epoch + 1
        member.connection.remember(stored.addresses, now)
        self._lease(member)
        self.reconsider(member)
        self._telling.tell_restored(member)
        self._mesh.on_said(member.host_id)

    def refuse(self, host_id: str, why: str, reason: str) -> None:
        """Count and log a refusal."""
        self.refusals[why] += 1
        log.warning("refused host=%s why=%s reason=%r", host_id, why, reason)

    def _tell_inbound(self, member: Member, before: Outcome) -> bool:
        """Tell what the host's own Envoy is shown, where that differs; give whether it does."""
        now = member.outcome
        told = (before.inbound, before.outbound, before.own)
        if told == (now.inbound, now.outbound, now.own):
            return False
        self._mesh.on_inbound(member.host_id, now.inbound, now.outbound, now.own)
        return True

    def _lease(self, member: Member) -> None:
        if member.registration.registered:
            self.leases.grant(member.host_id, self._clock.monotonic())
        else:
            self.leases.release(member.host_id)

    def _take_out(self, member: Member) -> Settled:
        if not member.instances:
            return None
        freed = self._hold(member, ())
        settled = self._telling.tell_ended(member)
        self._store(member)
        self._offer(freed)
        return settled

    def _hold(
        self, member: Member, instances: tuple[RegisteredInstance, ...]
    ) -> frozenset[EndpointKey]:
        """Note who holds which key; give the keys that are free now."""
        had = {key for instance in member.instances for key in instance.keys}
        has = {key: instance.service for instance in instances for key in instance.keys}
        for key in had - has.keys():
            del self._holders[key]
        self._holders.update({key: (member.host_id, name) for key, name in has.items()})
        member.instances = instances
        return frozenset(had - has.keys())

    def _offer(self, freed: frozenset[EndpointKey]) -> None:
        if freed:
            for host in sorted(self._contenders):
                member = self.members[host]
                alone(member, partial(self.reconsider, member))

    def _note_refusals(self, member: Member, before: Outcome) -> None:
        known = frozenset(before.refused)
        for refusal in member.outcome.refused:
            if refusal not in known:
                self.refuse(member.host_id, refusal.why, refusal.reason)
        if any(refusal.why is Why.TAKEN for refusal in member.outcome.refused):
            self._contenders.add(member.host_id)
        else:
            self._contenders.discard(member.host_id)

    def _note_interest(self, member: Member, before: Outcome) -> None:
        had, has = before.services, member.outcome.services
        for service in had - has:
            self._interested[service].discard(member.host_id)
            if not self._interested[service]:
                del self._interested[service]
        for service in has - had:
            self._interested.setdefault(service, set()).add(member.host_id)

    def _store(self, member: Member) -> None:
        if not member.instances and member.outcome.own == OwnListeners():
            self._stored.put(member.host_id, None)
            return
        # Without a lease nothing is registered; a client's listeners must outlive a restart too.
        said = member.registration if member.instances else member.registration.without(set())
        stored = StoredRegistration(
            registration=said,
            addresses=tuple(sorted(member.connection.proven)),
            owner=self.owner,
            epoch=member.epoch,
        )
        self._stored.put(member.host_id, stored.to_bytes(), places(member.instances))

    def _answer(self, member: Member, settled: Settled) -> None:
        if not member.connection.session_id:
            return  # known from the store alone: its agent has not been here yet
        if settled is None and not member.untold:
            self._send_verdict(member)
        else:
            self.spawn(self._answer_later(member, settled))

    def _send_verdict(self, member: Member) -> None:
        notes = self._mesh.upstream_notes(member.host_id)
        waits = self._telling.why_untold() if member.untold else ""
        member.waits_for_store = bool(waits)
        summary, mode = self._mesh.summary, self._mesh.inbound_mode
        member.connection.send(member.verdict(summary, mode, notes, waits=waits))

    async def _answer_later(self, member: Member, settled: Settled) -> None:
        await self._telling.until_told(member, settled)
        self._send_verdict(member)


def _not_running(work: Coroutine[object, object, None], /) -> object:
    work.close()
    raise RuntimeError("the registry is not running")
