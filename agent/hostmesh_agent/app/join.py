"""`hostmesh-agent join`: from a token to an identity on disk. Everything or nothing.

Until the last step nothing on the host has changed; the token is used up by the control plane only
when it has made the certificate, and a lost answer is asked for again with the same key.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from hostmesh_agent.config import Address, AgentConfig
from hostmesh_agent.edges import enrolment_client, keys
from hostmesh_agent.edges.clock import SystemClock
from hostmesh_agent.edges.enrolment_client import (
    AnswerLost,
    EnrolAnswer,
    EnrolmentUnreachable,
    Pinned,
    TooFast,
    VerifiedEnrolment,
)
from hostmesh_agent.edges.identity_disk import IdentityDisk, Membership, StoredIdentity
from hostmesh_agent.edges.keys import KeyAndRequest
from hostmesh_core import ports, x509
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.credentials import CertificateSet
from hostmesh_core.errors import BadInput, Refused
from hostmesh_core.grant import Grant
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.ids import Identity, SpiffeId
from hostmesh_core.token import JoinToken

_MOST_SKEW_SECONDS = 120.0
"""NotBefore lies 5 minutes back: room is left for peers whose clocks differ the other way."""
_TRIES = 4


class AlreadyJoined(BadInput):
    """This host has an identity that still lives."""


class ClockOff(Refused):
    """This host's clock differs too much from the control plane's."""


class BadAnswer(Refused):
    """The control plane answered with an identity that is not this host's."""


class Clock(Protocol):
    """What this asks of a clock."""

    def wall(self) -> float:
        """Give seconds since the epoch."""

    def pause(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What the host is from now on."""

    host_id: str
    trust_domain: str
    control_plane: str
    """The address that it enrolled at."""
    grant: Grant
    default_identity: Identity | None
    not_after: float
    """Seconds since the epoch: when the host certificate ends unless it is renewed."""
    clock_seconds: float | None
    """How far this host's clock is ahead of the control plane's; None = not asked this time."""


def join(
    config: AgentConfig,
    layout: HostLayout,
    token_text: str,
    *,
    hostname: str,
    clock: Clock | None = None,
) -> Joined:
    """Enrol this host and store its identity; run again with the same token, go on with it.

    Raises BadInput (token unreadable, joined already), Refused (the control plane's or our own no),
    Unreachable (nobody answered): in each case nothing has changed.
    """
    clock = clock or SystemClock()
    token = JoinToken.parse(token_text)
    disk = IdentityDisk(Path(layout.identity_dir))
    stored = living(disk, clock.wall())
    if stored is not None:
        return _resumed(disk, stored, token)
    address, pinned = _found(config, token)
    key = disk.pending(token.id) or keys.new_key()
    keep = partial(disk.store_pending, token.id, key)
    request = _Request(address, pinned, token, key, hostname)
    try:
        answer, clock_seconds = _asked(request, clock, before=keep)
    except Refused:
        disk.forget_pending()
        raise
    fresh = _checked(answer, key, pinned, clock.wall())
    grant = Grant.from_json(answer.grant)
    disk.store_join(
        Membership(answer.host_id, pinned.trust_domain, clock.wall(), str(address), token.id),
        host=fresh,
        grant=grant,
        bundles=answer.bundles,
        renewal=answer.renewal,
    )
    joined = resumed(_stored(disk))
    return replace(joined, clock_seconds=clock_seconds)


def living(disk: IdentityDisk, now: float) -> StoredIdentity | None:
    """Give the identity that this host has, where it has not ended."""
    stored = disk.load()
    return None if stored is None or stored.host.facts.not_after <= now else stored


def resumed(stored: StoredIdentity) -> Joined:
    """Give what the host is by what lies on its disk."""
    return Joined(
        host_id=stored.membership.host_id,
        trust_domain=stored.membership.trust_domain,
        control_plane=stored.membership.control_plane,
        grant=stored.grant,
        default_identity=stored.grant.default_identity(),
        not_after=stored.host.facts.not_after,
        clock_seconds=None,
    )


def _stored(disk: IdentityDisk) -> StoredIdentity:
    stored = disk.load()
    if stored is None:
        raise RuntimeError("an identity that was stored is not there")
    return stored


def _resumed(disk: IdentityDisk, stored: StoredIdentity, token: JoinToken) -> Joined:
    """Go on with an earlier run of this very join. Raises AlreadyJoined where it is another."""
    membership = stored.membership
    if membership.token_id != token.id:
        raise AlreadyJoined(
            f"cannot join: this host is host {membership.host_id[:8]} of {membership.trust_domain} "
            f"already (by {membership.control_plane}); to join anew: hostmesh-agent leave, then "
            "join"
        )
    disk.forget_pending()
    return resumed(stored)


def enrolment_addresses(config: AgentConfig) -> tuple[Address, ...]:
    """Give where to enrol: `enrolment:`, else each control plane's host on :15013."""
    if config.enrolment is not None:
        return (config.enrolment,)
    return tuple(Address(host=cp.host, port=ports.ENROLMENT) for cp in config.control_planes)


def _found(config: AgentConfig, token: JoinToken) -> tuple[Address, Pinned]:
    """Find the first control plane that answers and has the pinned root."""
    silent: list[str] = []
    for address in enrolment_addresses(config):
        try:
            return address, enrolment_client.find_root(address, token.pin)
        except EnrolmentUnreachable as error:
            silent.append(str(error))
    raise EnrolmentUnreachable("; ".join(silent) or "cannot join: control_planes is empty")


def _waits() -> Iterator[float]:
    """Give the seconds before each further try."""
    yield from (0.5 * 2**n for n in range(_TRIES - 1))


@dataclass(frozen=True, slots=True)
class _Request:
    """Who is asked for what."""

    address: Address
    pinned: Pinned
    token: JoinToken
    key: KeyAndRequest
    hostname: str


def _asked(
    request: _Request, clock: Clock, *, before: Callable[[], None]
) -> tuple[EnrolAnswer, float]:
    """Ask until there is an answer; always with the same key, so that no use is lost.

    `before` is called when the clocks agree and the token is about to be sent.
    """
    waits = _waits()
    while True:
        try:
            with closing(VerifiedEnrolment(request.address, request.pinned)) as connection:
                ahead = _check_clock(connection.bundle().server_time, clock.wall())
                before()
                csr = request.key.csr_pem
                return connection.enrol(request.token, csr, hostname=request.hostname), ahead
        except (AnswerLost, TooFast) as error:
            wait = next(waits, None)
            if wait is None:
                raise
            clock.pause(max(wait, error.seconds) if isinstance(error, TooFast) else wait)


def _check_clock(server_time: float, now: float) -> float:
    """Give the seconds that this clock is ahead. Raises ClockOff."""
    off = now - server_time
    if abs(off) > _MOST_SKEW_SECONDS:
        side = "ahead of" if off > 0 else "behind"
        raise ClockOff(
            f"cannot join: this host's clock is {abs(off):.0f} s {side} the control plane's, "
            f"certificates would not hold; set the clock (at most {_MOST_SKEW_SECONDS:.0f} s "
            "apart) and join again; the token is unused"
        )
    return off


def _checked(answer: EnrolAnswer, key: KeyAndRequest, pinned: Pinned, now: float) -> CertificateSet:
    """Take the answer apart before anything is stored: key, chain, name and roots must agree."""
    try:
        fresh = CertificateSet.read(key.key_pem, answer.chain_pem)
        x509.verify_chain(x509.load_pem_chain(answer.chain_pem), [pinned.root], now=now)
        _check_roots(answer.bundles, pinned)
    except BadInput as error:
        raise BadAnswer(f"cannot use the control plane's answer: {error}") from error
    expected = SpiffeId.of_host(pinned.trust_domain, answer.host_id)
    if fresh.facts.spiffe_id != expected or expected.host_id is None:
        raise BadAnswer(
            f"cannot use the control plane's answer: the certificate is for "
            f"{fresh.facts.spiffe_id}, expected {expected}"
        )
    return fresh


def _check_roots(bundles: TrustBundles, pinned: Pinned) -> None:
    if x509.to_der(pinned.root) not in bundles.roots_der(pinned.trust_domain):
        raise BadInput("its trust bundle does not hold the root that the token pins")
