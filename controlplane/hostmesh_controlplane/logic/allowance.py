"""How much work one host may cause: a bucket of service looks, filled at a steady rate.

A look at a host decides all that it declares, so its cost grows with that. Measured on one core, a
look costs 0.2 ms per service where health has changed and about three times that where names have,
their rendering included: at PER_SECOND one host takes about a tenth of the control plane.
"""

from dataclasses import dataclass

PER_SECOND = 400.0
"""Services looked at per second on the average."""
BURST = 2000.0
"""A join registers a few times within a second, and all apps of a host may fall ill at once."""
CHANGE = 400.0
"""What a Register that changes something costs on top: names come and go, one such per second."""
PAUSE_FACTOR = 4.0
"""Between two looks at a host lies this many times what the last one took: what its apps say within
that is one look, and the others get their turn within a burst too.
"""


@dataclass(slots=True)
class Allowance:
    """One host's bucket. Work is begun while anything is in it, and may leave it overdrawn."""

    left: float = BURST
    at: float = 0.0
    """Monotonic seconds, when `left` was in it."""
    paused_until: float = 0.0

    def wait(self, now: float) -> float:
        """Give the seconds until work may begin; 0 = now."""
        overdrawn = max(0.0, -self._filled(now)) / PER_SECOND
        return max(overdrawn, self.paused_until - now)

    def spend(self, cost: float, *, began: float, ended: float) -> None:
        """Take for work that was done just now, in monotonic seconds."""
        self.left, self.at = self._filled(began) - cost, began
        self.paused_until = ended + (ended - began) * PAUSE_FACTOR

    def _filled(self, now: float) -> float:
        return min(BURST, self.left + max(0.0, now - self.at) * PER_SECOND)


def cost_of_look(services: int) -> float:
    """Give what one look at a host with so many services costs."""
    return 1.0 + services
