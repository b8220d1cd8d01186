"""Every way in which the authority says no: a reason for the counter, a sentence for people."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """What `hostmesh_refusals_total{reason}` counts. Renaming one breaks somebody's alert."""

    MALFORMED = "malformed"
    """A request that is no request: bad token text, bad CSR, missing field."""
    CHALLENGE = "challenge"
    """The nonce is unknown, too old or was used before: a replayed request."""
    TOKEN_UNKNOWN = "token_unknown"  # noqa: S105 (a reason, no secret)
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    TOKEN_USED = "token_used"  # noqa: S105
    TOKEN_REVOKED = "token_revoked"  # noqa: S105
    HOST_UNKNOWN = "host_unknown"
    HOST_REVOKED = "host_revoked"
    IDENTITY = "identity"
    """A workload identity that the grant does not cover."""
    RESERVED = "reserved"
    """An identity that is never issued to a workload."""
    KEY = "key"
    """A key that already stands for another identity."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A no, and why: what was seen, what is covered, which command would allow it."""

    reason: Reason
    text: str
