"""The certificate authority as the rest of the control plane uses it.

Decisions are `logic`'s, signing is the signer's, records are in the store. Every refusal is logged
and counted here, because every one of them passes here.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hostmesh_controlplane.app.host_book import HostBook
from hostmesh_controlplane.app.tokens import TokenBook
from hostmesh_controlplane.config import ControlPlaneConfig
from hostmesh_controlplane.edges import ca_keys
from hostmesh_controlplane.edges.ca_keys import EmbeddedSigner, Signed, Signer
from hostmesh_controlplane.logic import authority, grants, host_record
from hostmesh_controlplane.logic.authority import Template, Terms
from hostmesh_controlplane.logic.enrolment import Applicant
from hostmesh_controlplane.logic.grants import GrantChange
from hostmesh_controlplane.logic.host_record import HostRecord, IssuedLast
from hostmesh_controlplane.logic.refusals import Reason, Refusal
from hostmesh_controlplane.logic.store import Store
from hostmesh_controlplane.logic.tokens import TokenRecord, TokenRequest
from hostmesh_core import rotation, x509
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Grant
from hostmesh_core.ids import Identity
from hostmesh_core.rotation import Renewal
from hostmesh_core.token import JoinToken
from hostmesh_core.x509 import RequestFacts

log = logging.getLogger("hostmesh.authority")
_LONGEST_SLEEP = 30.0
"""Seconds. A machine that slept, or whose clock was set, is noticed after this long."""


class Clock(Protocol):
    """What this asks of a clock (`edges.clock.SystemClock`)."""

    def wall(self) -> float:
        """Give seconds since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Entropy(Protocol):
    """What this asks of randomness (`edges.entropy.SystemEntropy`)."""

    def hex(self, bits: int) -> str:
        """Give random bits in hexadecimal."""

    def serial(self) -> int:
        """Give a certificate serial."""

    def jitter(self) -> float:
        """Give a number from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a host that joined gets."""

    host_id: str
    chain_der: tuple[bytes, ...]
    """Leaf first, without the root."""
    bundles: TrustBundles
    grant: Grant
    trust_domain: str
    renewal: Renewal


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate, what its holder trusts, and when it is to be renewed."""

    chain_der: tuple[bytes, ...]
    bundles: TrustBundles
    renewal: Renewal
    serial: str
    not_after: float


class Authority:
    """Tokens, hosts and certificates of one trust domain."""

    def __init__(
        self,
        config: ControlPlaneConfig,
        store: Store,
        *,
        clock: Clock,
        entropy: Entropy,
        signer: Signer | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._entropy = entropy
        self._signer = signer
        self._hosts = HostBook(store)
        self._tokens = TokenBook(store, hex_bits=entropy.hex)
        self._serving: tuple[Signed, tuple[bytes, bytes]] | None = None
        self._bundles = TrustBundles()
        self._renewal = Renewal(config.ca.renew_from, config.ca.renew_to)
        self._refused: Counter[str] = Counter()
        self.serving_listeners: list[Callable[[], None]] = []
        """Called after the control plane's own certificate was renewed."""
        self._terms = Terms(
            trust_domain=config.trust_domain,
            life_seconds=config.ca.leaf_hours * 3600,
            clock_skew_seconds=config.ca.clock_skew_seconds,
        )

    async def start(self) -> None:
        """Open (or make) the authority, read the hosts, make the serving certificate."""
        if self._signer is None:
            self._signer = EmbeddedSigner(
                Path(self._config.state_dir) / "ca",
                trust_domain=self._config.trust_domain,
                serial=self._entropy.serial,
                now=self._clock.wall(),
            )
        self._bundles = TrustBundles.of({self._config.trust_domain: self._signer.roots_der})
        await self._hosts.load()
        await self.renew_serving()

    async def run(self) -> None:
        """Keep the serving certificate fresh until cancelled."""
        jitter = self._entropy.jitter()
        while True:
            await self._clock.sleep(self._serving_wait(jitter))
            if self._serving_wait(jitter) <= 0:
                await self.renew_serving()
                jitter = self._entropy.jitter()

    async def renew_serving(self) -> None:
        """Make a new serving key and certificate; listeners load them."""
        pair = ca_keys.make_key_pair()
        now = self._clock.wall()
        template = authority.plan_control_plane(pair.key_spki, self._terms, now=now)
        signed = await self._open_signer.sign(template, now=now)
        self._serving = (signed, (pair.key_pem, _pem(signed.chain_der)))
        log.info("serving certificate made serial=%s", signed.serial)
        for listener in self.serving_listeners:
            listener()

    def serving_credentials(self) -> tuple[bytes, bytes]:
        """Give the control plane's own key and chain (leaf first) as PEM; the current ones.

        Any thread may ask: gRPC does so at every handshake.
        """
        if self._serving is None:
            raise RuntimeError("serving_credentials before start")
        return self._serving[1]

    @property
    def bundles(self) -> TrustBundles:
        """Give the roots of every trusted domain."""
        return self._bundles

    def roots_pem(self, trust_domain: str = "") -> bytes:
        """Give the roots of one domain as PEM; of the own one without a name."""
        return self.bundles.roots_pem(trust_domain or self._config.trust_domain)

    @property
    def pin(self) -> str:
        """Give what tokens pin: the SHA-256 of the root's public key."""
        return x509.spki_sha256(x509.load_der(self._open_signer.roots_der[0]))

    # Hosts join and ask for certificates.

    async def enrol(
        self, token_text: str, csr_pem: bytes, peer_address: str, hostname: str
    ) -> Enrolled | Refusal:
        """Let a host join by its token, or refuse. A refusal uses nothing up."""
        try:
            token = JoinToken.parse(token_text)
            request = x509.read_pem_request(csr_pem)
        except BadInput as error:
            return self._refuse(Refusal(Reason.MALFORMED, str(error)), peer=peer_address)
        now = self._clock.wall()
        applicant = Applicant(
            key_sha256=request.key_sha256, hostname=hostname, address=peer_address
        )
        admission = await self._tokens.use(token, applicant, now=now)
        if isinstance(admission, Refusal):
            return self._refuse(admission, peer=peer_address, token=token.id)
        host = await self._hosts.add(admission.host)
        issued = await self._issue(host, request, None)
        if isinstance(issued, Refusal):
            return self._refuse(issued, peer=peer_address, token=token.id, host=host.host_id)
        log.info(
            "host enrolled host=%s hostname=%s token=%s peer=%s serial=%s",
            *(host.host_id, host.hostname, token.id, peer_address, issued.serial),
        )
        return Enrolled(
            host_id=host.host_id,
            chain_der=issued.chain_der,
            bundles=issued.bundles,
            grant=host.grant,
            trust_domain=self._config.trust_domain,
            renewal=issued.renewal,
        )

    async def issue(
        self, host_id: str, csr_der: bytes, identity: Identity | None
    ) -> Issued | Refusal:
        """Issue the host certificate (identity None) or a workload's, for a host's own stream."""
        host = self._hosts.get(host_id)
        try:
            request = x509.read_request(csr_der)
        except BadInput as error:
            return self._refuse(Refusal(Reason.MALFORMED, str(error)), host=host_id)
        if host is None:
            return self._refuse(authority.unknown_host(host_id), host=host_id)
        issued = await self._issue(host, request, identity)
        if isinstance(issued, Refusal):
            return self._refuse(issued, host=host_id, identity=identity)
        log.info(
            "certificate issued host=%s identity=%s serial=%s",
            *(host_id, identity or "host", issued.serial),
        )
        return issued

    # Operators.

    async def create_token(self, request: TokenRequest) -> tuple[str, TokenRecord]:
        """Make a token and give its whole text, secret included, once."""
        token, record = await self._tokens.create(request, pin=self.pin, now=self._clock.wall())
        log.info("token created token=%s uses=%d", record.id, record.uses)
        return token.reveal(), record

    async def list_tokens(self) -> list[TokenRecord]:
        """Give all tokens, the newest first."""
        return await self._tokens.list(now=self._clock.wall())

    async def revoke_token(self, token_id: str) -> TokenRecord:
        """Make a token useless. Raises BadInput for an unknown one."""
        record = await self._tokens.revoke(token_id, now=self._clock.wall())
        log.info("token revoked token=%s", token_id)
        return record

    def host(self, host_id: str) -> HostRecord | None:
        """Give the record of a host that joined."""
        return self._hosts.get(host_id)

    def hosts(self) -> list[HostRecord]:
        """Give every record, by host id."""
        return self._hosts.all()

    def find_host(
        self,
        text: str,
        *,
        connected: Callable[[str], bool] = lambda _: False,
        only_read: bool = False,
    ) -> HostRecord:
        """Give the host of an id, its beginning, or a name. Raises BadInput.

        Without `only_read` nothing is guessed: something is about to be changed.
        """
        hosts = self._hosts.all()
        return host_record.find(hosts, text, connected=connected, only_read=only_read)

    def is_revoked(self, host_id: str) -> bool:
        """Whether this host may do nothing here: it was revoked, or it never joined."""
        host = self._hosts.get(host_id)
        return host is None or host.revoked

    async def grant_change(self, host_id: str, change: GrantChange) -> HostRecord:
        """Widen or narrow what a host may claim, effective at once. Raises BadInput."""
        after = await self._hosts.update(
            host_id,
            lambda record: authority.without_identities_outside(
                record, grants.apply(record.grant, change)
            ),
        )
        log.info("grant changed host=%s", host_id)
        return _present(after, host_id)

    async def revoke_host(self, host_id: str, reason: str) -> HostRecord:
        """Never let this host come back. Raises BadInput for one that never joined."""
        now = self._clock.wall()
        after = await self._hosts.update(
            host_id, lambda record: authority.revoked(record, why=reason, now=now)
        )
        log.warning("host revoked host=%s reason=%r", host_id, reason)
        return _present(after, host_id)

    def on_host_changed(self, listener: Callable[[str], None]) -> None:
        """Call `listener(host_id)` after each stored change of a host record."""
        self._hosts.listeners.append(listener)

    @property
    def refusals(self) -> Mapping[str, int]:
        """Give how often each reason was the answer since the start."""
        return dict(self._refused)

    def refuse(self, refusal: Refusal, **seen: object) -> Refusal:
        """Log and count a refusal that was decided elsewhere; gives it back."""
        return self._refuse(refusal, **seen)

    def _refuse(self, refusal: Refusal, **seen: object) -> Refusal:
        self._refused[refusal.reason] += 1
        context = " ".join(
            f"{key}={_one_line(value)}" for key, value in seen.items() if value is not None
        )
        log.warning("refused reason=%s %s text=%r", refusal.reason, context, refusal.text)
        return refusal

    async def _issue(
        self, host: HostRecord, request: RequestFacts, identity: Identity | None
    ) -> Issued | Refusal:
        """Decide, sign, note the serial. What is not noted is not handed out."""
        now = self._clock.wall()
        plan = self._plan(host, request, identity, now)
        if isinstance(plan, Refusal):
            return plan
        signed = await self._open_signer.sign(plan, now=now)
        last = IssuedLast(signed.serial, signed.not_after, request.key_sha256)

        def noted(record: HostRecord) -> HostRecord | Refusal:
            # Asked again at the time of writing: the host may have been revoked meanwhile.
            again = self._plan(record, request, identity, now)
            if isinstance(again, Refusal):
                return again
            return authority.with_issued(record, identity, last)

        after = await self._hosts.update(host.host_id, noted)
        if isinstance(after, Refusal):
            return after
        if after is None:
            return authority.unknown_host(host.host_id)
        return Issued(
            chain_der=signed.chain_der,
            bundles=self._bundles,
            renewal=self._renewal,
            serial=signed.serial,
            not_after=signed.not_after,
        )

    def _plan(
        self, host: HostRecord, request: RequestFacts, identity: Identity | None, now: float
    ) -> Template | Refusal:
        if identity is None:
            return authority.plan_host(host, request, self._terms, now=now)
        return authority.plan_workload(host, request, identity, self._terms, now=now)

    def _serving_wait(self, jitter: float) -> float:
        if self._serving is None:
            raise RuntimeError("run before start")
        signed, _ = self._serving
        due = rotation.renewal_time(signed.not_before, signed.not_after, jitter, self._renewal)
        return min(due - self._clock.wall(), _LONGEST_SLEEP)

    @property
    def _open_signer(self) -> Signer:
        if self._signer is None:
            raise RuntimeError("the authority was used before start")
        return self._signer


def _one_line(value: object) -> str:
    """Give a value from outside as it may stand in a log: no line breaks, no end in sight."""
    return str(value)[:200].encode("unicode_escape").decode()


def _pem(chain_der: tuple[bytes, ...]) -> bytes:
    return x509.to_pem([x509.load_der(der) for der in chain_der])


def _present(record: HostRecord | Refusal | None, host_id: str) -> HostRecord:
    if isinstance(record, HostRecord):
        return record
    raise BadInput(f"cannot find host {host_id!r}; list them with: hostmesh hosts")
