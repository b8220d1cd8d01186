"""Declares this host's services, proves each, registers what is proven, reports what changes.

`logic.registration` decides what is said; this asks for the proof (`edges.proof`) while Envoy
serves and the rules are in, and hands every message to the host stream.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from hostmesh_agent.app.health import Addresses, HealthService
from hostmesh_agent.app.registrar_contracts import Held, HostLink
from hostmesh_agent.config import AgentConfig, CheckKind, ServiceConfig, ServiceKey
from hostmesh_agent.edges import interfaces, probes, proof
from hostmesh_agent.edges.clock import SystemClock
from hostmesh_agent.edges.entropy import SystemEntropy
from hostmesh_agent.edges.probes import Check
from hostmesh_agent.logic import health, registration, workloads
from hostmesh_agent.logic.health import AppHealth
from hostmesh_agent.logic.registration import Message, Place, State
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.capture_plan import PROOF_PORTS
from hostmesh_core.ids import SpiffeId
from hostmesh_core.model import InboundMode
from hostmesh_core.model import Protocol as Spoken

log = logging.getLogger("hostmesh.registrar")

PROOF_SECONDS = 3.0
"""How long one proof may take; the app is on this host."""
RETRY_SECONDS = 1.0
"""Between two tries of a service that is not proven yet."""
ADDRESSES_SECONDS = 1.0
"""How often the interfaces are looked at: a fraction of a millisecond each time."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How the apps of this host are asked: for the proof, and for their health."""

    prove: Callable[..., Awaitable[tuple[str, float]]] = proof.prove
    """Raises NotProven."""
    ask: Callable[[Check], Awaitable[None]] = probes.ask
    """Raises CheckFailed."""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service as `status` shows it."""

    config: ServiceConfig
    address: str
    registered: bool
    healthy: bool | None
    reason: str
    problem: str
    """Why it is not registered; empty where it is, or where that is wanted."""
    choice: str
    """Why it is not to be registered: nothing is waited for."""
    verdict: pb.ServiceVerdict | None


class Registrar:
    """The services of one host."""

    def __init__(
        self,
        config: AgentConfig,
        link: HostLink,
        identity: Held,
        asking: Asking = Asking(),
    ) -> None:
        self._config = config
        self._link = link
        self._identity = identity
        self._asking = asking
        self._state = State(config.services, explicit_mode=not config.capture.enabled)
        self._generation = 0
        self._verdict: pb.Verdict | None = None
        self._envoy_why: str | None = "Envoy does not serve yet"
        self._capture_why: str | None = (
            "the rules are not in yet" if config.capture.enabled else None
        )
        self.left_all = False
        """Whether everything of this host was deregistered (`drain`)."""
        self._own: tuple[str, ...] = ()
        self._problems: dict[ServiceKey, str] = {}
        self._wake = asyncio.Event()
        self.health = HealthService(
            config.services,
            ask=asking.ask,
            addresses=Addresses(registered=self._registered, own=lambda: self._own),
            on_change=self._checked,
            clock=SystemClock(),
            jitter=SystemEntropy().jitter,
        )

    # What others tell

    def connected(self) -> None:
        """The control plane is there: it may have answered a proof's question."""
        self.look_again()

    def look_again(self) -> None:
        """Something that a proof needs may be there now."""
        self._wake.set()

    def verdict(self, verdict: pb.Verdict) -> None:
        """Take what the control plane made of the declarations."""
        self._verdict = verdict
        for sentence in registration.sentences(verdict):
            log.info("verdict: %s", sentence)
        self.look_again()

    def envoy(self, *, serving: bool, why: str = "") -> None:
        """Take whether a worker of Envoy answers."""
        self._envoy_why = None if serving else why
        self._captured()

    def capture(self, *, applied: bool, why: str) -> None:
        """Take whether the kernel rules are in and verified."""
        if not self._state.explicit_mode:
            self._capture_why = None if applied else why
            self._captured()

    def leaving(self, services: Iterable[ServiceKey] = ()) -> None:
        """Register these (none named = all) no more: they drain."""
        named = tuple(services)
        self.left_all = self.left_all or not named
        self._state = registration.drained(self._state, named)

    def configure(self, config: AgentConfig, services: Sequence[ServiceConfig]) -> None:
        """Take in a changed configuration; `services` are declared, also those about to go."""
        self._config = config
        self._state, messages = registration.configured(
            self._state,
            config,
            services,
            granted=self._identity.grant.default_identity(),
        )
        self._send(messages)
        self.health.replace(services)
        self.look_again()

    # What others look at

    @property
    def services(self) -> tuple[ServiceConfig, ...]:
        """Give all that is declared."""
        return self._state.services

    @property
    def answered(self) -> bool:
        """Whether the control plane has judged what was declared last."""
        return self._verdict is not None and self._verdict.generation >= self._generation

    @property
    def refused_ports(self) -> frozenset[int]:
        """Give the ports whose services are refused: no chain of Envoy's leads on from them."""
        verdicts = [(s.port, self._verdict_of(s)) for s in self._state.services]
        accepted = {port for port, said in verdicts if said is not None and said.accepted}
        return frozenset({port for port, said in verdicts if said is not None} - accepted)

    def views(self) -> list[ServiceView]:
        """Give every service for `status`."""
        return [self._view(service) for service in self._state.services]

    @property
    def unproven(self) -> list[str]:
        """Give, per service that is not registered, why."""
        return [f"{v.config.name}: {v.problem}" for v in self.views() if v.problem]

    @property
    def notes(self) -> tuple[str, ...]:
        """Give what the control plane says of upstreams and ports that do not hold."""
        return tuple(self._verdict.notes) if self._verdict else ()

    # The loops

    async def run(self) -> NoReturn:
        """Declare, then prove and register for ever."""
        self._look_at_addresses()
        place = Place(addresses=self._own)
        self._state, messages = registration.start(
            self._config, place, granted=self._identity.grant.default_identity()
        )
        self._state = registration.captured(self._state, self._missing)[0]
        self._send(messages)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.health.run())
            tasks.create_task(self._follow_addresses())
            tasks.create_task(self._settle())
            while True:
                await self._prove_all()
                self._wake.clear()
                try:
                    async with asyncio.timeout(RETRY_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _settle(self) -> None:
        await asyncio.sleep(registration.SETTLE_SECONDS)
        self._state, messages = registration.settled(self._state)
        self._send(messages)

    async def _follow_addresses(self) -> NoReturn:
        while True:
            await asyncio.sleep(ADDRESSES_SECONDS)
            before = frozenset(self._own)
            self._look_at_addresses()
            if gone := before.difference(self._own):
                # A stream from an address that is gone hangs; the control plane must see the new.
                self._link.reconnect(gone)
            self._state, messages = registration.moved(self._state, Place(addresses=self._own))
            self._send(messages)

    def _look_at_addresses(self) -> None:
        self._own = interfaces.own_addresses()

    async def _prove_all(self) -> None:
        for service in self._state.services:
            key = service.key
            if key in self._state.proven or self._choice(service):
                continue
            target = self._target(service)
            if target is not None:
                await self._prove(service, target)

    async def _prove(self, service: ServiceConfig, target: proof.Target) -> None:
        key = service.key
        try:
            detail, seconds = await self._asking.prove(
                target, self._credentials(service), within=PROOF_SECONDS
            )
        except proof.NotProven as error:
            if self._problems.get(key) != str(error):
                log.warning("%s; trying again", error)
            self._problems[key] = str(error)
            return
        if self._missing is not None or service not in self._state.services:
            return  # it went while the proof was on its way
        if self._choice(service):
            return
        self._problems.pop(key, None)
        log.info("proven service=%s answer=%r ms=%.0f", service.name, detail, seconds * 1000)
        self.health.seed(service, "")
        self._state, messages = registration.proven(
            self._state, service, AppHealth(healthy=True, reason=f"proof: {detail}")
        )
        self._send(messages)

    def _target(self, service: ServiceConfig) -> proof.Target | None:
        """Give what to dial, or note what is still lacking."""
        key = service.key
        verdict = self._verdict_of(service)
        lacking = self._lacking(service, verdict)
        if lacking or verdict is None:
            self._problems[key] = lacking
            return None
        address, _ = health.where(service, self._registered(service), self._own)
        if not service.mesh_port:
            address = self._own_address(self._registered(service)) or address
        captured = not service.mesh_port
        identity = workloads.identity_of(service, self._identity.grant)
        protocol = service.protocol or Spoken.TCP
        is_http = protocol.is_http
        return proof.Target(
            address=address,
            port=service.endpoint_port,
            is_http=is_http,
            path=service.health.path if service.health.kind is CheckKind.HTTP else "/",
            host=verdict.host,
            expected=SpiffeId.of_workload(self._identity.membership.trust_domain, identity),
            source_ports=PROOF_PORTS if captured else None,
        )

    def _own_address(self, registered: Sequence[str]) -> str:
        """Give the address of this host to dial: a registered one, else any: NAT may hide it."""
        own = [a for a in registered if a in self._own]
        own += [a for a in self._own if registered and (":" in a) == (":" in registered[0])]
        return own[0] if own else ""

    def _lacking(self, service: ServiceConfig, verdict: pb.ServiceVerdict | None) -> str:
        if self._missing is not None:
            return f"waiting: {self._missing}"
        identity = workloads.identity_of(service, self._identity.grant)
        if identity not in self._identity.workloads:
            return f"waiting for the certificate of {identity}"
        if verdict is None:
            return "waiting for the control plane's word"
        return "" if verdict.accepted else verdict.reason

    def _credentials(self, service: ServiceConfig) -> proof.ProofCredentials:
        identity = workloads.identity_of(service, self._identity.grant)
        held = self._identity.workloads[identity]
        domain = self._identity.membership.trust_domain
        return proof.ProofCredentials(
            held.chain_pem, held.key_pem, self._identity.bundles.roots_pem(domain)
        )

    # Inside

    def _choice(self, service: ServiceConfig) -> str:
        """Say why a service is not to be registered; empty = it is."""
        if service.inbound is InboundMode.DISABLE:
            return "inbound: disable: peers do not reach it by mutual TLS"
        if service.key in self._state.leaving:
            return "deregistered; it returns when the agent is started again"
        return ""

    @property
    def _missing(self) -> str | None:
        return self._envoy_why or self._capture_why

    def _captured(self) -> None:
        self._state, messages = registration.captured(self._state, self._missing)
        self._send(messages)
        self.look_again()

    def _checked(self, service: ServiceConfig, state: AppHealth) -> None:
        self._state, messages = registration.checked(self._state, service, state)
        self._send(messages)

    def _send(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if isinstance(message, pb.Register):
                self._link.register(message)
                self._generation = message.generation
            else:
                self._link.report_health(message)

    def _registered(self, service: ServiceConfig) -> tuple[str, ...]:
        return registration.addresses(self._verdict, service)

    def _verdict_of(self, service: ServiceConfig) -> pb.ServiceVerdict | None:
        return registration.verdict_of(self._verdict, service)

    def _view(self, service: ServiceConfig) -> ServiceView:
        key = service.key
        known = self.health.states.get(key, AppHealth())
        addresses = self._registered(service)
        verdict = self._verdict_of(service)
        proven = key in self._state.proven
        choice = self._choice(service)
        problem = "" if proven or choice else self._problems.get(key, "not proven yet")
        if verdict is not None and not verdict.accepted:
            problem = verdict.reason  # also of one that was registered: its grant has changed
        elif proven and not choice:
            problem = registration.untold(verdict)
        return ServiceView(
            config=service,
            address=f"{addresses[0] if addresses else '-'}:{service.endpoint_port}",
            registered=proven and not problem and not choice,
            healthy=known.healthy,
            reason=known.reason,
            problem=problem,
            choice=choice,
            verdict=verdict,
        )
