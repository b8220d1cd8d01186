"""The registry of hosts: the app behind the host stream (DESIGN 5 and 7).

`accept` is its door. A host's word goes to `Registrations`; what becomes of it goes to `HostMesh`,
always as the whole state of one host, and back to the host as its Verdict.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import NoReturn, assert_never

from hostmesh_controlplane.app.host_certificates import CertificateDesk
from hostmesh_controlplane.app.host_connection import SESSION_BYTES, HostConnection
from hostmesh_controlplane.app.host_contracts import (
    Authorities,
    Clock,
    Entropy,
    HostMesh,
    HostsConfig,
    HostTerms,
)
from hostmesh_controlplane.app.host_door import BUG, HostDoor, alone, guarded
from hostmesh_controlplane.app.host_member import Member
from hostmesh_controlplane.app.host_queries import Queries
from hostmesh_controlplane.app.registration_store import RegistrationStore
from hostmesh_controlplane.app.registrations import Registrations
from hostmesh_controlplane.edges.host_stream import Link, Refusal, Session
from hostmesh_controlplane.edges.peer import Peer
from hostmesh_controlplane.logic.declarations import MAX_TEXT
from hostmesh_controlplane.logic.leases import SWEEP_SECONDS
from hostmesh_controlplane.logic.registration import StoredRegistration
from hostmesh_controlplane.logic.store import Store
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput
from hostmesh_core.host_session import Body
from hostmesh_core.model import RegisteredInstance

log = logging.getLogger(__name__)

PROTOCOL = 1
MAX_STREAMS = 16
"""Of one host: the one in use, one per other address, and older ones that are about to end."""
FORGET_SECONDS = 600.0
"""A host without stream and lease is forgotten after this; its session begins anew then."""


class Hosts:
    """All hosts of this replica. Everything happens in the event loop of `run`."""

    def __init__(
        self,
        config: HostsConfig,
        store: Store,
        authorities: Authorities,
        *,
        mesh: HostMesh,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._config = config
        self._authorities = authorities
        self._mesh = mesh
        self._clock = clock
        self._entropy = entropy
        self._stored = RegistrationStore(store, sleep=clock.sleep)
        self._registrations = Registrations(
            config, self._stored, authorities, mesh=mesh, clock=clock
        )
        self._registrations.owner = entropy.hex(128)
        self._members = self._registrations.members
        self._queries = Queries(new_id=lambda: entropy.hex(64))
        self._expiring: set[str] = set()
        self._away: dict[str, float] = {}
        self._held: tuple[str, ...] = ()
        self._tasks: asyncio.TaskGroup | None = None

    # Life.

    async def restore(self) -> None:
        """Take up the stored registrations. The catalogs' stored views must be loaded before."""
        for host_id, value in await self._stored.load():
            member = self._member(host_id)
            self._registrations.restore(member, StoredRegistration.from_bytes(value))

    async def run(self) -> NoReturn:
        """Serve for ever; before this runs, streams are sent elsewhere."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._registrations.spawn = lambda work: tasks.create_task(guarded(work))
            tasks.create_task(self._stored.run())
            while True:
                self.sweep()
                await self._clock.sleep(SWEEP_SECONDS)

    def sweep(self) -> None:
        """Do once what `run` does every half second: leases, addresses, forgotten hosts."""
        now = self._clock.monotonic()
        swept = self._registrations.leases.sweep(now)
        if swept.gap_seconds:
            log.warning("leases extended after a gap seconds=%.1f", swept.gap_seconds)
        for ended in map(self._members.__getitem__, swept.ended):
            alone(ended, partial(self._registrations.lease_ended, ended))
        if swept.held != self._held:
            self._note_held(swept.held)
        for host_id in sorted(self._expiring):
            member = self._members.get(host_id)
            if member is None:
                self._expiring.discard(host_id)
                continue
            if member.connection.expire(now):
                alone(member, partial(self._registrations.reconsider, member))
            self._note_expiring(member)
        self._forget(now)

    # The door of the stream.

    def accept(self, peer: Peer, hello: pb.Hello, link: Link) -> Session | Refusal:
        """Take a stream, or say why not."""
        if self._tasks is None:
            return Refusal("cannot serve hosts yet: the control plane is starting", again=True)
        host_id = peer.spiffe.host_id or ""
        terms = self._authorities.host(host_id)
        why, text = self._objection(peer, hello)
        if why or terms is None:
            self._registrations.refuse(host_id or str(peer.spiffe), why, text)
            return Refusal(text)
        member = self._member(host_id)
        if member.connection.stream_count >= MAX_STREAMS:
            return Refusal(f"cannot take more than {MAX_STREAMS} streams of a host", again=True)
        welcome = self._welcome(peer, terms)
        take = self._prove if hello.address_proof else self._open
        try:
            return take(member, peer, hello, link, welcome)
        except Exception:
            log.exception("cannot take a host's stream host=%s", host_id)
            return Refusal(f"cannot serve this host: {BUG}", again=True)

    def _objection(self, peer: Peer, hello: pb.Hello) -> tuple[str, str]:
        """Give the counter's label and the sentence; empty where nothing speaks against it."""
        host_id = peer.spiffe.host_id
        if host_id is None or peer.spiffe.trust_domain != self._config.trust_domain:
            only = "only a host's own certificate may register"
            return "not_a_host", f"cannot accept {peer.spiffe}: {only}"
        terms = self._authorities.host(host_id)
        if terms is None:
            return "host_unknown", f"cannot accept host {host_id}: it has not joined here"
        if terms.revoked:
            return "host_revoked", f"cannot accept host {host_id}: it is revoked"
        said = (hello.agent_version, hello.envoy_version, hello.hostname)
        well_formed = len(hello.session) == SESSION_BYTES and max(map(len, said)) <= MAX_TEXT
        if hello.protocol < PROTOCOL or not well_formed:
            expected = f"expected protocol {PROTOCOL}, a session, and short names"
            return "protocol", f"cannot speak with this agent: {expected}"
        member = self._members.get(host_id)
        if member is not None and member.connection.is_past(hello.session):
            return "superseded", (
                "cannot accept this agent: another one with this host's certificate has taken its "
                "place; if nobody restarted it, the host's disk was copied: revoke the host and "
                "join again"
            )
        return "", ""

    def _open(
        self, member: Member, peer: Peer, hello: pb.Hello, link: Link, welcome: pb.Welcome
    ) -> Session:
        if member.host_id in self._registrations.leases:
            member.connection.back(self._clock.monotonic())
        else:
            member.connection.forget_addresses()
        known = member.connection.proven
        if member.connection.open(peer, hello, link, welcome):
            member.begin_session()
        self._away.pop(member.host_id, None)
        self._note_expiring(member)
        log.info(
            "host connected host=%s address=%s agent=%r envoy=%r",
            *(member.host_id, peer.address, hello.agent_version, hello.envoy_version),
        )
        self._mesh.on_connected(member.host_id, peer, hello)
        if member.connection.proven != known:
            self._registrations.proven_changed(member)
        return HostDoor(self, member, peer.stream_id)

    def _prove(
        self, member: Member, peer: Peer, hello: pb.Hello, link: Link, welcome: pb.Welcome
    ) -> Session | Refusal:
        if member.connection.session_id != hello.session:
            return Refusal("cannot prove an address before the session's own stream", again=True)
        known = member.connection.proven
        member.connection.prove(peer, link, welcome)
        if member.connection.proven != known:
            self._registrations.proven_changed(member)
        return HostDoor(self, member, peer.stream_id)

    def received(self, member: Member, stream_id: str, envelope: pb.Up) -> None:
        """Take one envelope of one stream."""
        body = member.connection.received(stream_id, envelope)
        if body is not None:
            self._handle(member, body)
        member.connection.acknowledge()

    def closed(self, member: Member, stream_id: str) -> None:
        """Take that a stream has ended; the lease runs on."""
        now = self._clock.monotonic()
        was_main = member.connection.left(stream_id, now)
        self._note_expiring(member)
        if was_main:
            self._away[member.host_id] = now
            log.info("host disconnected host=%s", member.host_id)
            self._mesh.on_disconnected(member.host_id)

    def _handle(self, member: Member, body: Body) -> None:  # noqa: C901 (one case per body)
        match body:
            case pb.Register():
                self._registrations.register(member, body)
            case pb.Renew():
                self._registrations.renew(member)
            case pb.HealthReport():
                self._registrations.report(member, body)
            case pb.Drain():
                self._registrations.drain(member, body)
            case pb.CertificateRequest():
                self._registrations.spawn(self._certificate(member, body))
            case pb.Applied():
                self._mesh.on_applied(member.host_id, body)
            case pb.Rejected():
                self._mesh.on_rejected(member.host_id, body)
            case pb.Use():
                self._mesh.on_use(member.host_id, tuple(body.names))
            case pb.Callers():
                self._mesh.on_callers(member.host_id, body)
            case pb.Answer():
                self._queries.answered(member.host_id, body)
            case pb.Issue() | pb.Revoked() | pb.Drained() | pb.Query() | pb.Pace() | pb.Verdict():
                raise RuntimeError(f"an agent sent {body.DESCRIPTOR.name}")
            case _:
                assert_never(body)

    async def _certificate(self, member: Member, request: pb.CertificateRequest) -> None:
        answer = await member.desk.answer(request)
        if answer is not None:
            member.connection.send(answer)

    # What others tell and ask.

    def catalog_changed(self, services: Iterable[str]) -> None:
        """Take that catalogs list these services' keys differently."""
        self._registrations.catalog_changed(services)

    def upstreams_changed(self, host_id: str) -> None:
        """Take that a service which a host's upstream names has come or gone."""
        self._registrations.tell_again(host_id)

    def reevaluate(self, host_id: str) -> None:
        """Take that a host's record changed: grant or revocation, effective at once."""
        member = self._members.get(host_id)
        if member is None:
            return
        terms = self._authorities.host(host_id)
        if terms is None or terms.revoked:
            self._registrations.cast_out(member)
            reason = "this host is revoked; to come back it has to join again with a new token"
            member.connection.send(pb.Revoked(reason=reason))
            member.connection.close(f"cannot go on: {reason}", again=False)
            return
        peer = member.connection.peer
        if peer is not None:
            member.connection.welcome_again(self._welcome(peer, terms))
        self._registrations.reconsider(member, answer=True)

    async def query(
        self, host_id: str, kind: str, args: Mapping[str, str], *, seconds: float = 5.0
    ) -> pb.Answer:
        """Ask a host. Raises HostSilent where it is not connected or does not answer in time."""
        member = self._members.get(host_id)
        connection = member.connection if member else None
        return await self._queries.ask(host_id, connection, kind, args, seconds=seconds)

    def end_held(self) -> tuple[str, ...]:
        """Let the held leases end (an operator's word). Raises BadInput where none is held."""
        hosts = self._registrations.leases.give_up_held()
        if not hosts:
            raise BadInput("cannot end held leases: none is held; look at: hostmesh hosts")
        return hosts

    # What others look at.

    @property
    def refusals(self) -> Counter[str]:
        """How often each reason was the answer, for streams and registrations."""
        return self._registrations.refusals

    @property
    def held(self) -> tuple[str, ...]:
        """The hosts whose lease would have ended, but too many would at once."""
        return self._held

    @property
    def lease_count(self) -> int:
        """How many leases live."""
        return len(self._registrations.leases)

    def connection(self, host_id: str) -> tuple[Peer, pb.Hello] | None:
        """Give the stream in use and what its agent said of itself, or None."""
        member = self._members.get(host_id)
        peer = member.connection.peer if member else None
        return (peer, member.connection.hello) if member and peer else None

    def connected(self) -> tuple[str, ...]:
        """Give the hosts that have a stream."""
        members = self._members.values()
        return tuple(sorted(m.host_id for m in members if m.connection.peer is not None))

    def instances(self, host_id: str) -> tuple[RegisteredInstance, ...]:
        """Give what a host has registered now."""
        member = self._members.get(host_id)
        return member.instances if member else ()

    def refused(self, host_id: str) -> tuple[str, ...]:
        """Give the sentences of what is refused to a host now."""
        member = self._members.get(host_id)
        return tuple(refusal.reason for refusal in member.outcome.refused) if member else ()

    async def stored(self, host_id: str) -> None:
        """Wait until the mesh was told of all that a host holds: that is when it is stored."""
        member = self._members.get(host_id)
        if member is not None and member.untold:
            await self._stored.written(host_id)

    def _member(self, host_id: str) -> Member:
        member = self._members.get(host_id)
        if member is None:
            connection = HostConnection(
                replica=lambda: bytes.fromhex(self._entropy.hex(128)),
                linger_seconds=self._config.lease_seconds,
            )
            desk = CertificateDesk(
                host_id,
                lambda csr, identity: self._authorities.issue(host_id, csr, identity),
                refuse=self._registrations.refuse,
            )
            member = self._members[host_id] = Member(host_id, connection, desk)
            self._away[host_id] = self._clock.monotonic()  # until its first stream is in use
        return member

    def _welcome(self, peer: Peer, terms: HostTerms) -> pb.Welcome:
        return pb.Welcome(
            protocol=PROTOCOL,
            lease_seconds=self._config.lease_seconds,
            renew_seconds=self._config.renew_seconds,
            peer_address=peer.address,
            stream_id=peer.stream_id,
            grant_json=json.dumps(terms.grant.to_json()).encode(),
            trust_domain=self._config.trust_domain,
        )

    def _note_expiring(self, member: Member) -> None:
        if member.connection.expiring:
            self._expiring.add(member.host_id)
        else:
            self._expiring.discard(member.host_id)

    def _note_held(self, held: tuple[str, ...]) -> None:
        self._held = held
        if held:
            hosts = ",".join(held)
            log.error("leases held, too many would end; hostmesh host end-held hosts=%s", hosts)
        else:
            log.info("no lease is held any more")

    def _forget(self, now: float) -> None:
        for host_id, since in list(self._away.items()):
            if now - since < FORGET_SECONDS:
                break  # the others left later
            del self._away[host_id]
            member = self._members.get(host_id)
            if member is None:
                continue
            # A proof of an address ends later than the stream in use, and asks for this member.
            streams = member.connection.stream_count or self._mesh.follows(host_id)
            if streams or host_id in self._registrations.leases:
                self._away[host_id] = now
            else:
                self._registrations.forget(member)
