"""The agent's end of the host stream: one session, whatever streams come and go.

Keeps one stream up (the next control plane when one fails, a new stream before the old one is
closed when the certificate is renewed), sends again what was not acknowledged, renews the lease,
and gives the answers to whoever asked. What to register is decided elsewhere and put here.
"""

import asyncio
import json
import logging
from collections.abc import Collection, Iterable, Sequence
from typing import NoReturn, TypeVar

from hostmesh_agent.app.host_listeners import AgentFacts, Clock, Entropy, HostListeners
from hostmesh_agent.app.host_stream import Stream
from hostmesh_agent.app.identity import IssueResult
from hostmesh_agent.edges import host_client, interfaces
from hostmesh_agent.edges.host_client import HostStream, HostStreamLost
from hostmesh_agent.edges.xds_upstream import Credentials
from hostmesh_agent.logic.relay_failover import Failover
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.errors import HostmeshError, Unreachable
from hostmesh_core.grant import Grant
from hostmesh_core.host_session import Body, HostSession, subject
from hostmesh_core.ids import Identity
from hostmesh_core.names import declaration
from hostmesh_core.rotation import Renewal

__all__ = ["AgentFacts", "HostListeners", "HostService"]

log = logging.getLogger("hostmesh.host")

PROTOCOL = 1
REFUSED_SECONDS = 15.0
"""Between tries where a control plane says no: an operator has to act first."""
ISSUE_SECONDS = 10.0
"""An unanswered certificate request is repeated after this; the repetition gets the same answer."""
ISSUE_TRIES = 6
DRAIN_SECONDS = 40.0
"""Longer than the control plane waits for the subscribers."""
PROOF_SECONDS = 15.0
"""Between tries to reach the control plane by the other address family."""


class HostService:
    """The session of this agent process."""

    def __init__(
        self,
        control_planes: Sequence[str],
        credentials: Credentials,
        *,
        facts: AgentFacts,
        clock: Clock,
        entropy: Entropy,
        listeners: HostListeners,
    ) -> None:
        self._facts = facts
        self._clock = clock
        self._entropy = entropy
        self._listeners = listeners
        self._failover = Failover(control_planes, start=int(entropy.jitter() * 1000))
        self._credentials = credentials
        self._renewed = asyncio.Event()
        self._session_id = bytes.fromhex(entropy.hex(128))
        self._replica = b""
        self._session: HostSession[pb.Up, pb.Down] = HostSession(pb.Up)
        self._current: Stream | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._register = pb.Register()
        self._issues: dict[str, asyncio.Future[pb.Issue]] = {}
        self._drains: dict[tuple[str, ...], asyncio.Future[bool]] = {}
        self._renew_seconds = 4.0
        self.report_seconds = 10.0
        """How often callers may be reported; the control plane sets the pace."""
        self._proven: dict[str, str] = {}
        self.welcome: pb.Welcome | None = None
        """The last one; None before the first."""
        self.lost = "cannot tell yet: no control plane has answered"
        """Why there is no stream; empty while there is one."""

    # What others look at.

    @property
    def connected(self) -> bool:
        """Whether a stream is up."""
        return self._current is not None

    @property
    def control_plane(self) -> str:
        """The control plane that the stream goes to; empty = none."""
        return self._current.address if self._current else ""

    @property
    def peer_address(self) -> str:
        """The address that the control plane sees this host come from; empty before Welcome."""
        return self.welcome.peer_address if self.welcome else ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses that the control plane has seen: `peer_address`, and the other family."""
        return tuple(dict.fromkeys(a for a in (self.peer_address, *self._proven.values()) if a))

    @property
    def grant(self) -> Grant | None:
        """What this host may claim, as the control plane says; None before Welcome."""
        return Grant.from_json(json.loads(self.welcome.grant_json)) if self.welcome else None

    # What others put.

    def set_credentials(self, credentials: Credentials) -> None:
        """Use a renewed certificate: a new stream is opened before the old one is closed."""
        if credentials != self._credentials:
            self._credentials = credentials
            self._renewed.set()

    def set_control_planes(self, control_planes: Sequence[str]) -> None:
        """Go to these from now on: a new stream is opened before the old one is closed."""
        self._failover = Failover(control_planes, start=int(self._entropy.jitter() * 1000))
        self._renewed.set()

    def reconnect(self, gone: Collection[str]) -> None:
        """Open new streams where the one in use came from an address that is gone, or may have."""
        seen = set(self.addresses)
        # Behind NAT nobody can tell which of the host's own addresses a stream comes from.
        if seen & set(gone) or not seen & set(interfaces.own_addresses()):
            log.info("addresses gone, connecting anew gone=%s", ",".join(sorted(gone)))
            self._renewed.set()
            self._listeners.on_moved()

    def register(self, register: pb.Register) -> None:
        """Declare and register everything that this host serves; `generation` is set here."""
        register.generation = self._register.generation + 1
        self._register = register
        self._send(register)

    def report_health(self, report: pb.HealthReport) -> None:
        """Report one service's health."""
        self._send(report)

    def applied(self, type_url: str, version: str, stream_id: str) -> None:
        """Report that Envoy has applied a version."""
        self._send(pb.Applied(type_url=type_url, version=version, stream_id=stream_id))

    def rejected(self, rejected: pb.Rejected) -> None:
        """Report that Envoy has refused a resource."""
        self._send(rejected)

    def use(self, names: Iterable[str]) -> None:
        """Report which names this host uses."""
        self._send(pb.Use(names=sorted(names)))

    def report_callers(self, callers: pb.Callers) -> None:
        """Report who calls this host's services: all of them, not a change."""
        self._send(callers)

    async def request_certificate(self, csr_der: bytes, identity: Identity | None) -> IssueResult:
        """Ask for a certificate and wait, for a stream too. Raises HostmeshError: none for now."""
        request = pb.CertificateRequest(
            request_id=self._entropy.hex(128),
            csr_der=csr_der,
            namespace=identity.namespace if identity else "",
            service_account=identity.service_account if identity else "",
        )
        answer = self._issues[request.request_id] = asyncio.get_running_loop().create_future()
        try:
            for _ in range(ISSUE_TRIES):
                self._send(request)
                await asyncio.wait((answer,), timeout=ISSUE_SECONDS)
                if answer.done():
                    return _issue_result(answer.result())
        finally:
            del self._issues[request.request_id]
            self._session.settle(subject(request))
        raise Unreachable(
            f"cannot get a certificate: no answer in {ISSUE_SECONDS * ISSUE_TRIES:.0f} s; "
            f"{self.lost or 'the control plane is silent'}"
        )

    async def drain(self, services: Iterable[str] = ()) -> bool:
        """Deregister (none named = all) and wait until every subscriber has applied it.

        False: not every one did in time, or no control plane answers; the next that does is told,
        so that it does not renew what it remembers. `web:8080` names one of two declarations.
        """
        drain = pb.Drain(services=sorted(services))
        about = tuple(drain.services)
        done = self._drains.get(about)
        if done is None:
            done = self._drains[about] = asyncio.get_running_loop().create_future()
        self._send(drain)
        self._declare_only(about)
        try:
            if self.connected:
                await asyncio.wait((done,), timeout=DRAIN_SECONDS)
            return done.done() and done.result()
        finally:
            self._drains.pop(about, None)

    def _declare_only(self, services: tuple[str, ...]) -> None:
        """Keep what is drained declared: its inbound chains stay. A replay registers nothing."""
        register = pb.Register()
        register.CopyFrom(self._register)
        for service in register.services:
            named = {service.service, declaration(service.service, service.workload_port)}
            if not services or named.intersection(services):
                service.declared_only = True
        self.register(register)

    def _send(self, body: Body) -> None:
        envelope = self._session.send(body)
        if self._current is not None:
            self._current.send(envelope)

    # The streams.

    async def run(self) -> NoReturn:
        """Keep a stream up for ever."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            while True:
                self._renewed.clear()
                attempt = tasks.create_task(self._attempt(self._credentials))
                renewed = tasks.create_task(self._renewed.wait())
                await asyncio.wait((attempt, renewed), return_when=asyncio.FIRST_COMPLETED)
                renewed.cancel()
                if attempt.done():
                    await self._clock.sleep(attempt.result())

    async def _attempt(self, credentials: Credentials) -> float:
        """Serve one stream to its end; give the seconds to wait before the next."""
        address = self._failover.address
        stream: Stream | None = None
        try:
            async with host_client.connect(address, credentials, self._hello) as opened:
                stream = self._adopt(opened)
                await stream.run(self._received, self._renew(), self._prove(address, credentials))
        except HostStreamLost as error:
            delay = self._failover.failed(self._entropy.jitter())
            if error.refused:
                delay = max(delay, REFUSED_SECONDS * (0.5 + self._entropy.jitter() / 2))
            self._lost(stream, f"{error}; next try in {delay:.1f} s")
            return delay
        return 0.0

    def _hello(self) -> pb.Hello:
        return pb.Hello(
            protocol=PROTOCOL,
            session=self._session_id,
            last_seen=self._session.seen,
            replica=self._replica,
            agent_version=self._facts.agent_version,
            envoy_version=self._facts.envoy_version,
            hostname=self._facts.hostname,
        )

    def _adopt(self, opened: HostStream) -> Stream:
        """Use a welcomed stream from now on, and end the one before."""
        self._failover.connected()
        welcome = opened.welcome.welcome
        stream, before = Stream(opened), self._current
        other = welcome.replica != self._replica
        self._replica = welcome.replica
        for envelope in self._session.resume(welcome.last_seen, other_replica=other):
            stream.send(envelope)
        self._current, self.lost = stream, ""
        log.info("connected control_plane=%s seen_as=%s", opened.address, welcome.peer_address)
        self._welcomed(welcome)
        if before is not None:
            before.replaced()
        return stream

    def _welcomed(self, welcome: pb.Welcome) -> None:
        self.welcome = welcome
        self._renew_seconds = welcome.renew_seconds or self._renew_seconds
        self._listeners.on_welcome(welcome)

    async def _renew(self) -> NoReturn:
        while True:
            self._send(pb.Renew())
            await self._clock.sleep(self._renew_seconds)

    def _lost(self, stream: Stream | None, text: str) -> None:
        if stream is self._current:
            self._current, self.lost = None, text
            log.warning("%s", text)
            self._listeners.on_lost(text)

    async def _prove(self, address: str, credentials: Credentials) -> NoReturn:
        """Hold a stream from the other address family, so that its address counts too."""
        while True:
            for other in await host_client.addresses_of(address, ipv6=":" not in self.peer_address):
                try:
                    async with host_client.connect(other, credentials, self._proof) as proof:
                        self._proven[address] = proof.welcome.welcome.peer_address
                        while True:
                            await proof.receive()
                except HostStreamLost as error:
                    self._proven.pop(address, None)
                    log.debug("other address family not proven: %s", error)
            await self._clock.sleep(PROOF_SECONDS * (0.5 + self._entropy.jitter()))

    def _proof(self) -> pb.Hello:
        return pb.Hello(protocol=PROTOCOL, session=self._session_id, address_proof=True)

    # What the control plane says.

    def _received(self, stream: Stream, envelope: pb.Down) -> None:
        if stream is not self._current:
            return  # the session sends it again on the newer stream
        if envelope.WhichOneof("body") == "welcome":
            self._welcomed(envelope.welcome)
            return
        body = self._session.receive(envelope)
        if body is not None:
            self._handle(body)
        if (acknowledgement := self._session.acknowledgement()) is not None:
            stream.send(acknowledgement)

    def _handle(self, body: Body) -> None:
        match body:
            case pb.Verdict():
                self._listeners.on_verdict(body)
            case pb.Issue():
                _resolve(self._issues.get(body.request_id), body)
            case pb.Drained():
                about = tuple(sorted(body.services))
                self._session.settle(subject(pb.Drain(services=about)))
                _resolve(self._drains.get(about), body.complete)
            case pb.Query() if self._tasks is not None:
                self._tasks.create_task(self._answer(body))
            case pb.Pace():
                self._renew_seconds = body.renew_seconds or self._renew_seconds
                self.report_seconds = body.report_seconds or self.report_seconds
            case pb.Revoked():
                log.error("this host is revoked: %s", body.reason)
                self._listeners.on_revoked(body.reason)
            case _:
                log.warning("cannot use a %s from the control plane", body.DESCRIPTOR.name)

    async def _answer(self, query: pb.Query) -> None:
        answer = pb.Answer(query_id=query.query_id)
        try:
            async with asyncio.timeout(query.deadline_ms / 1000):
                found = await self._listeners.on_query(query.kind, dict(query.args))
        except TimeoutError:
            answer.error = f"cannot answer {query.kind!r} within {query.deadline_ms} ms"
        except HostmeshError as error:
            answer.error = str(error)
        except Exception as error:  # a question must not end the session
            log.exception("cannot answer a question kind=%s", query.kind)
            answer.error = (
                f"cannot answer {query.kind!r}: {type(error).__name__}; see the agent's log"
            )
        else:
            answer.truncated = len(found) > query.max_bytes
            answer.body = found[: query.max_bytes]
        self._send(answer)


T = TypeVar("T")


def _resolve(waiting: asyncio.Future[T] | None, value: T) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(value)


def _issue_result(issue: pb.Issue) -> IssueResult:
    if issue.refused:
        return IssueResult(refused=issue.refused)
    roots = {bundle.trust_domain: tuple(bundle.roots_der) for bundle in issue.bundles}
    return IssueResult(
        tuple(issue.chain_der),
        TrustBundles.of(roots) if roots else None,
        renewal=Renewal(issue.renew_from, issue.renew_to) if issue.renew_to else Renewal(),
    )
