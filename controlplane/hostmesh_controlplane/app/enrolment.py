"""Answers the enrolment listener: JSON in and out around the authority."""

from collections.abc import Mapping
from typing import Protocol

from hostmesh_controlplane.app.authority import Authority, Enrolled
from hostmesh_controlplane.edges.enrolment import Reply
from hostmesh_controlplane.logic.challenges import LIFE_SECONDS, Challenges
from hostmesh_controlplane.logic.refusals import Reason, Refusal
from hostmesh_core import x509

_STATUS = {Reason.MALFORMED: 400, Reason.CHALLENGE: 409}


class Clock(Protocol):
    """What this asks of a clock."""

    def wall(self) -> float:
        """Give seconds since the epoch."""

    def monotonic(self) -> float:
        """Give seconds that never jump."""


class Entropy(Protocol):
    """What this asks of randomness."""

    def hex(self, bits: int) -> str:
        """Give random bits in hexadecimal."""


class EnrolmentDesk:
    """One per control plane: it remembers the nonces that it gave out."""

    def __init__(self, authority: Authority, *, clock: Clock, entropy: Entropy) -> None:
        self._authority = authority
        self._clock = clock
        self._entropy = entropy
        self._challenges = Challenges()

    def bundle(self) -> Reply:
        """Give the roots and this machine's time."""
        return Reply(
            200,
            {"server_time": self._clock.wall(), "bundles": self._authority.bundles.to_json()},
        )

    def challenge(self) -> Reply:
        """Give a nonce that is good for one request."""
        nonce = self._entropy.hex(256)
        self._challenges = self._challenges.asked(nonce, now=self._clock.monotonic())
        return Reply(
            200,
            {"server_time": self._clock.wall(), "nonce": nonce, "seconds": LIFE_SECONDS},
        )

    async def enrol(self, body: Mapping[str, object], address: str) -> Reply:
        """Let a host join, or refuse with a sentence."""
        match body:
            case {"nonce": str(nonce), "token": str(token), "csr": str(csr)}:
                hostname = str(body.get("hostname", ""))
            case _:
                return self._refused(
                    Refusal(Reason.MALFORMED, "cannot enrol: expected nonce, token and csr"),
                    address,
                )
        left = self._challenges.answered(nonce, now=self._clock.monotonic())
        if left is None:
            return self._refused(
                Refusal(
                    Reason.CHALLENGE,
                    "cannot enrol: the request's nonce is unknown, too old or was used before; "
                    "ask for another at /v1/challenge",
                ),
                address,
            )
        self._challenges = left
        outcome = await self._authority.enrol(token, csr.encode(), address, hostname)
        if isinstance(outcome, Refusal):
            return _refusal(outcome)
        return Reply(200, self._joined(outcome))

    def _joined(self, joined: Enrolled) -> dict[str, object]:
        identity = joined.grant.default_identity()
        chain = x509.to_pem([x509.load_der(der) for der in joined.chain_der])
        return {
            "server_time": self._clock.wall(),
            "host_id": joined.host_id,
            "trust_domain": joined.trust_domain,
            "chain": chain.decode(),
            "bundles": joined.bundles.to_json(),
            "grant": joined.grant.to_json(),
            "default_identity": str(identity) if identity else None,
            "renewal": [joined.renewal.start, joined.renewal.end],
        }

    def _refused(self, refusal: Refusal, address: str) -> Reply:
        return _refusal(self._authority.refuse(refusal, peer=address))


def _refusal(refusal: Refusal) -> Reply:
    status = _STATUS.get(refusal.reason, 403)
    return Reply(status, {"error": refusal.text, "reason": refusal.reason.value})
