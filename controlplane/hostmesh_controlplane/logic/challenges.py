"""Nonces of the enrolment listener: each is good for one request and for a minute.

They make a recorded request worthless, and bind the answer to a question that was just asked.
"""

from dataclasses import dataclass

LIFE_SECONDS = 60.0
_MOST = 10_000
"""More than that many unanswered questions are a flood: the oldest go first."""


@dataclass(frozen=True, slots=True)
class Challenges:
    """The nonces that are out, the oldest first, each with its end on the monotonic clock."""

    open: tuple[tuple[str, float], ...] = ()

    def asked(self, nonce: str, *, now: float) -> "Challenges":
        """Add a new one, without those that ended."""
        alive = tuple(entry for entry in self.open if entry[1] > now)
        return Challenges((*alive[-(_MOST - 1) :], (nonce, now + LIFE_SECONDS)))

    def answered(self, nonce: str, *, now: float) -> "Challenges | None":
        """Take one back; None where it is unknown, ended or was taken back before."""
        found = any(known == nonce and end > now for known, end in self.open)
        if not found:
            return None
        return Challenges(tuple(entry for entry in self.open if entry[0] != nonce))
