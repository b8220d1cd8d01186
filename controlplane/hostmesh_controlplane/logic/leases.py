"""Leases of registered hosts (DESIGN 5): who has gone silent.

`now` is monotonic seconds. Renewals and sweeps cost what they touch: a lease is looked at
again only when it comes near its end, never because there are many others. What an ended lease
takes out of the mesh, and for how long, `merge` keeps.
"""

import heapq
from dataclasses import dataclass

LEASE_SECONDS = 12.0
RENEW_SECONDS = 4.0
SWEEP_SECONDS = 0.5
GAP_SECONDS = 2.0
"""Between two sweeps; a longer one means that this process slept, so nobody could renew."""
HOLD_WINDOW_SECONDS = 2.0
HOLD_SHARE = 0.3
HOLD_COUNT = 5
"""More leases than this share and this number ending within the window is more likely this side's
trouble than that many dead hosts: none of them ends until fewer are left or an operator says so."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep found."""

    ended: tuple[str, ...] = ()
    """Host ids whose lease ended now; they have no lease any more."""
    held: tuple[str, ...] = ()
    """Host ids that would have ended, but too many would at once."""
    gap_seconds: float = 0.0
    """By how much every lease was extended."""


class Leases:
    """All leases that one replica holds, by host id."""

    def __init__(self, *, now: float, seconds: float = LEASE_SECONDS) -> None:
        self._seconds = seconds
        self._swept_at = now
        self._skipped = 0.0
        self._gap = 0.0
        self._ends: dict[str, float] = {}
        # One valid entry per lease that is not near; a renewal leaves it, so its time may be too
        # early: then it is put back with the right one.
        self._heap: list[tuple[float, str]] = []
        self._entry: dict[str, float] = {}
        self._near: set[str] = set()
        self._given_up: set[str] = set()

    def __len__(self) -> int:
        """Count the live leases, held ones included."""
        return len(self._ends)

    def __contains__(self, host_id: object) -> bool:
        """Tell whether the host has a lease."""
        return host_id in self._ends

    def grant(self, host_id: str, now: float) -> None:
        """Give the host one full lease from now, new or renewed."""
        self._note_gap(now)
        self._ends[host_id] = now - self._skipped + self._seconds
        self._near.discard(host_id)
        self._given_up.discard(host_id)
        if host_id not in self._entry:
            self._push(host_id)

    def renew(self, host_id: str, now: float) -> bool:
        """Extend a lease to its full length; False where it has ended: the host must register."""
        if host_id not in self._ends:
            return False
        self.grant(host_id, now)
        return True

    def release(self, host_id: str) -> None:
        """Drop a lease without calling it ended: the host deregistered."""
        if self._ends.pop(host_id, None) is not None:
            self._entry.pop(host_id, None)
            self._near.discard(host_id)
            self._given_up.discard(host_id)

    def give_up_held(self) -> tuple[str, ...]:
        """Let the held leases end at the next sweep (an operator's word); give their hosts."""
        lease_now = self._swept_at - self._skipped
        self._given_up = {host for host in self._near if self._ends[host] <= lease_now}
        return tuple(sorted(self._given_up))

    def sweep(self, now: float) -> Swept:
        """Find what has ended. Call it every SWEEP_SECONDS."""
        self._note_gap(now)
        gap, self._gap = self._gap, 0.0
        self._swept_at = now
        lease_now = now - self._skipped
        self._gather(lease_now + HOLD_WINDOW_SECONDS)
        over = sorted(host for host in self._near if self._ends[host] <= lease_now)
        count = len(self._near - self._given_up)
        if count > HOLD_COUNT and count > HOLD_SHARE * len(self._ends):
            ended = [host for host in over if host in self._given_up]
        else:
            ended = over
        for host in ended:
            self.release(host)
        held = tuple(host for host in over if host in self._ends)
        return Swept(tuple(ended), held, gap)

    def _note_gap(self, now: float) -> None:
        gap = now - self._swept_at
        if gap > GAP_SECONDS:
            self._skipped += gap
            self._gap += gap
            self._swept_at = now

    def _gather(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            at, host = heapq.heappop(self._heap)
            if self._entry.get(host) != at:
                continue  # of a lease that was released
            del self._entry[host]
            if self._ends[host] > until:
                self._push(host)
            else:
                self._near.add(host)

    def _push(self, host_id: str) -> None:
        self._entry[host_id] = self._ends[host_id]
        heapq.heappush(self._heap, (self._ends[host_id], host_id))
