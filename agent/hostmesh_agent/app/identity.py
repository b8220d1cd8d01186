"""The shell around every certificate of this host: loads, renews, stores, hands out.

`logic.identity` decides when; this makes keys, asks the control plane through the callable that the
host stream gives, writes sets to disk, and tells who serves them. Key material is in `_sets` and in
the answers on their way, nowhere else, and in no log line.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from hostmesh_agent.edges import keys
from hostmesh_agent.edges.identity_disk import (
    IdentityDisk,
    IdentityUnusable,
    Membership,
    StoredIdentity,
)
from hostmesh_agent.logic import identity as machine
from hostmesh_agent.logic import secrets
from hostmesh_agent.logic.identity import Phase, State, Validity
from hostmesh_core import x509
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.credentials import CertificateSet
from hostmesh_core.errors import BadInput, HostmeshError
from hostmesh_core.grant import Grant
from hostmesh_core.ids import Identity, SpiffeId
from hostmesh_core.rotation import Renewal
from hostmesh_core.xds.resource import Resource

log = logging.getLogger("hostmesh.identity")


@dataclass(frozen=True, slots=True)
class IssueResult:
    """What the control plane answered: a chain, or the sentence of its refusal."""

    chain_der: tuple[bytes, ...] = ()
    """Leaf first, without the root."""
    bundles: TrustBundles | None = None
    """None = unchanged."""
    refused: str = ""
    renewal: Renewal = Renewal()  # noqa: RUF009 (frozen)


Request = Callable[[bytes, Identity | None], Awaitable[IssueResult]]
"""Asks for a certificate over the host stream: CSR (DER), and whose (None = the host's own).

It may wait for a stream; a HostmeshError says that there is no answer now."""


@dataclass(frozen=True, slots=True)
class HostCredentials:
    """What the agent's own streams authenticate with. Its repr never shows the key."""

    host_id: str
    trust_domain: str
    key_pem: bytes = field(repr=False)
    chain_pem: bytes = field(repr=False)
    roots_pem: bytes = field(repr=False)
    serial: str
    not_after: float
    """Seconds since the epoch; the control plane ends the streams then."""


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """One certificate for `status` and metrics."""

    identity: Identity | None
    phase: Phase
    serial: str
    not_after: float
    seconds_left: float
    why: str


class Clock(Protocol):
    """What this asks of a clock."""

    def wall(self) -> float:
        """Give seconds since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


def _ignore(*_: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told of what is new. Called on the event loop, so they must not block."""

    on_host_identity: Callable[[HostCredentials], None] = _ignore
    """New credentials: open new streams with them before the old ones are closed."""
    on_workload: Callable[[Identity, CertificateSet], None] = _ignore
    """A new set: push it by SDS, then say `in_use`."""
    on_bundles: Callable[[TrustBundles], None] = _ignore
    """New roots: push them by SDS; the agent's own streams take them when next opened."""


class IdentityService:
    """Every certificate of one joined host."""

    def __init__(
        self,
        disk: IdentityDisk,
        stored: StoredIdentity,
        *,
        request: Request,
        clock: Clock,
        jitter: Callable[[], float],
        listeners: Listeners,
    ) -> None:
        self._disk = disk
        self._request = request
        self._clock = clock
        self._jitter = jitter
        self._listeners = listeners
        self.membership: Membership = stored.membership
        self.grant: Grant = stored.grant
        self.bundles: TrustBundles = stored.bundles
        self._renewal = stored.renewal
        self._sets: dict[Identity | None, CertificateSet] = {None: stored.host}
        self._sets.update(stored.workloads.items())
        self._states: dict[Identity | None, State] = {}
        self._wanted: set[Identity | None] = {None, *stored.workloads}
        self._answers: dict[tuple[Identity | None, int], CertificateSet] = {}
        self._events: asyncio.Queue[tuple[Identity | None, machine.Event]] = asyncio.Queue()

    # What others ask.

    @property
    def host(self) -> HostCredentials:
        """Give the current credentials of the agent's own streams."""
        held, domain = self._sets[None], self.membership.trust_domain
        return HostCredentials(
            host_id=self.membership.host_id,
            trust_domain=domain,
            key_pem=held.key_pem,
            chain_pem=held.chain_pem,
            roots_pem=self.bundles.roots_pem(domain),
            serial=held.facts.serial,
            not_after=held.facts.not_after,
        )

    @property
    def workloads(self) -> dict[Identity, CertificateSet]:
        """Give every workload set that can be served now."""
        return {name: held for name, held in self._sets.items() if name is not None}

    @property
    def refused(self) -> set[Identity]:
        """Give the workloads that the control plane gives no certificate for."""
        states = self._states.items()
        return {n for n, state in states if n is not None and state.phase is Phase.REFUSED}

    def secrets(self) -> list[Resource]:
        """Give all that Envoy may ask for by SDS: certificates and roots, by name."""
        found = [secrets.certificate(name, held) for name, held in self.workloads.items()]
        found += [secrets.roots(self.bundles, domain) for domain in self.bundles.trust_domains]
        return sorted(found, key=lambda secret: secret.name)

    @property
    def hours_left(self) -> float:
        """Give the hours until the first of all certificates ends: what an outage may last."""
        now = self._clock.wall()
        ends = (held.facts.not_after for held in self._sets.values())
        return max(0.0, min(ends) - now) / 3600

    def status(self) -> list[CertificateStatus]:
        """Give every certificate that is wanted, the host's own first."""
        now = self._clock.wall()
        found = []
        for name in sorted(self._wanted, key=lambda n: (n is not None, str(n))):
            state = self._states.get(name, State(name))
            held = state.held
            found.append(
                CertificateStatus(
                    identity=name,
                    phase=state.phase,
                    serial=held.serial if held else "",
                    not_after=held.not_after if held else 0.0,
                    seconds_left=state.seconds_left(now),
                    why=state.why,
                )
            )
        return found

    # What others tell.

    def want(self, identities: Iterable[Identity]) -> None:
        """Hold certificates of these workloads and of no others, from now on."""
        wanted: set[Identity | None] = {None, *identities}
        for name in self._wanted - wanted:
            self._drop(name)
        for name in wanted - self._wanted:
            self._events.put_nowait((name, machine.Loaded(None, self._jitter())))
        self._wanted = wanted

    def renew_now(self) -> None:
        """Ask for every certificate anew, whether due or not."""
        for name in self._wanted:
            self._events.put_nowait((name, machine.Nudged()))

    def connected(self) -> None:
        """A host stream is up: what waits for a retry asks at once."""
        for name, state in self._states.items():
            if state.phase in (Phase.RETRY, Phase.REFUSED):
                self._events.put_nowait((name, machine.Nudged()))

    def in_use(self, identity: Identity | None, serial: str) -> None:
        """This certificate has been pushed and seen in use: the key before it leaves the disk.

        `identity` None: the agent's own streams are up with it.
        """
        held = self._sets.get(identity)
        if held is None or held.facts.serial != serial:
            return
        try:
            self._disk.discard_old(identity)
        except IdentityUnusable as error:
            log.warning("old key not removed identity=%s: %s", identity or "host", error)

    def grant_changed(self, grant: Grant) -> None:
        """Store what the host may claim now; what was refused is asked for again."""
        if grant == self.grant:
            return
        self.grant = grant
        try:
            self._disk.store_grant(grant)
        except IdentityUnusable as error:
            log.warning("grant not stored: %s", error)
        self.connected()

    # The loop and its one iteration.

    async def run(self) -> None:
        """Keep every wanted certificate fresh until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name in sorted(self._wanted, key=str):
                held = self._sets.get(name)
                found = _validity(held) if held else None
                loaded = machine.Loaded(found, self._jitter(), self._renewal)
                await self._step(name, loaded, group)
            while True:
                name, event = await self._events.get()
                await self._step(name, event, group)

    async def _step(
        self, name: Identity | None, event: machine.Event, group: asyncio.TaskGroup
    ) -> None:
        if name not in self._wanted:
            self._forget_answers(name, State(name))
            return
        before = self._states.get(name, State(name))
        if isinstance(event, machine.Loaded) and before.phase is not Phase.NONE:
            return  # wanted again before it was dropped
        state, commands = machine.step(before, event, now=self._clock.wall())
        self._states[name] = state
        self._report(before, state)
        for command in commands:
            match command:
                case machine.Ask(run):
                    group.create_task(self._ask(name, run))
                case machine.Install(run):
                    await self._install(name, self._answers[name, run])
                case machine.WakeAfter(timer, seconds):
                    group.create_task(self._wake(name, timer, seconds))
        self._forget_answers(name, state)

    async def _wake(self, name: Identity | None, timer: str, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._events.put_nowait((name, machine.Elapsed(timer)))

    async def _ask(self, name: Identity | None, run: int) -> None:
        """Ask once; whatever comes of it is an event."""
        key = keys.new_key()
        event: machine.Event
        try:
            result = await self._request(key.csr_der, name)
            if result.refused:
                event = machine.Denied(run, result.refused)
            else:
                fresh = self._taken(name, key.key_pem, result)
                self._answers[name, run] = fresh
                event = machine.Answered(run, _validity(fresh), self._jitter(), result.renewal)
        except HostmeshError as error:
            event = machine.Failed(run, str(error))
        self._events.put_nowait((name, event))

    def _taken(self, name: Identity | None, key_pem: bytes, result: IssueResult) -> CertificateSet:
        """Check an answer before it replaces anything. Raises BadInput."""
        bundles, domain = result.bundles or self.bundles, self.membership.trust_domain
        chain = [x509.load_der(der) for der in result.chain_der]
        fresh = CertificateSet.read(key_pem, x509.to_pem(chain))
        x509.verify_chain(chain, bundles.roots(domain), now=self._clock.wall())
        expected = (
            SpiffeId.of_workload(domain, name)
            if name is not None
            else SpiffeId.of_host(domain, self.membership.host_id)
        )
        if fresh.facts.spiffe_id != expected:
            raise BadInput(
                f"cannot use the new certificate: it is for {fresh.facts.spiffe_id}, "
                f"expected {expected}"
            )
        if bundles != self.bundles:
            self._trust(bundles)
        self._plan_by(result.renewal)
        return fresh

    def _trust(self, bundles: TrustBundles) -> None:
        self.bundles = bundles
        try:
            self._disk.store_bundles(bundles)
        except IdentityUnusable as error:
            log.warning("trust bundles not stored: %s", error)
        log.info("trust bundles changed domains=%s", ",".join(bundles.trust_domains))
        self._listeners.on_bundles(bundles)

    def _plan_by(self, renewal: Renewal) -> None:
        """Keep the control plane's plan for after a restart."""
        if renewal == self._renewal:
            return
        self._renewal = renewal
        try:
            self._disk.store_renewal(renewal)
        except IdentityUnusable as error:
            log.warning("renewal plan not stored: %s", error)

    async def _install(self, name: Identity | None, fresh: CertificateSet) -> None:
        """Store and serve. One that cannot be stored serves all the same: traffic comes first."""
        try:
            await asyncio.to_thread(self._disk.store_set, name, fresh)
        except IdentityUnusable as error:
            log.error("certificate not stored identity=%s: %s", name or "host", error)
        self._sets[name] = fresh
        log.info("certificate in force identity=%s serial=%s", name or "host", fresh.facts.serial)
        if name is None:
            self._listeners.on_host_identity(self.host)
        else:
            self._listeners.on_workload(name, fresh)

    def _drop(self, name: Identity | None) -> None:
        self._states.pop(name, None)
        self._sets.pop(name, None)
        if name is not None:
            self._disk.remove_workload(name)

    def _forget_answers(self, name: Identity | None, state: State) -> None:
        """Let go of keys that no awaited run needs: installed ones, and answers that came late."""
        awaited = state.run if state.phase is Phase.ASKED else None
        for key in [k for k in self._answers if k[0] == name and k[1] != awaited]:
            del self._answers[key]

    def _report(self, before: State, state: State) -> None:
        if state.why and (state.why, state.phase) != (before.why, before.phase):
            hours = state.seconds_left(self._clock.wall()) / 3600
            log.warning(
                "certificate not renewed identity=%s phase=%s hours_left=%.2f why=%s",
                *(state.identity or "host", state.phase, hours, state.why),
            )


def _validity(held: CertificateSet) -> Validity:
    return Validity(held.facts.serial, held.facts.not_before, held.facts.not_after)
