"""Whether a host may join, and what its record says (DESIGN 6): decided from the token alone."""

from dataclasses import dataclass

from hostmesh_controlplane.logic import tokens
from hostmesh_controlplane.logic.host_record import HostRecord
from hostmesh_controlplane.logic.refusals import Refusal
from hostmesh_controlplane.logic.tokens import TokenRecord
from hostmesh_core.token import JoinToken

MAX_HOSTNAME = 253


@dataclass(frozen=True, slots=True)
class Admission:
    """A yes: the token after its use, and the host that joins."""

    token: TokenRecord
    host: HostRecord
    again: bool
    """The same key asked again, its first answer was lost: nothing of the token is used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """Who asks. Nothing here decides anything but the key."""

    key_sha256: str
    hostname: str
    address: str


def admit(
    record: TokenRecord | None,
    token: JoinToken,
    applicant: Applicant,
    *,
    new_host_id: str,
    now: float,
) -> Admission | Refusal:
    """Say whether the applicant joins, and as what."""
    checked = tokens.check(record, token, key_sha256=applicant.key_sha256, now=now)
    if isinstance(checked, Refusal):
        return checked
    known = tokens.host_of_key(checked, applicant.key_sha256)
    host = HostRecord(
        host_id=known or new_host_id,
        hostname=_shown(applicant.hostname),
        grant=checked.grant,
        kind=checked.kind,
        token_id=checked.id,
        enrolled_at=now,
        enrolled_from=applicant.address,
    )
    if known is not None:
        return Admission(checked, host, again=True)
    after = tokens.used(checked, key_sha256=applicant.key_sha256, host_id=new_host_id)
    return Admission(after, host, again=False)


def _shown(hostname: str) -> str:
    """Keep what can stand in a table or a log line; a host may call itself anything."""
    kept = "".join(
        c for c in hostname[:MAX_HOSTNAME] if c.isascii() and (c.isalnum() or c in ".-_")
    )
    return kept or "unnamed"
