"""The rules of Consul's blocking queries, without the queries: index, waits, backoff, rate.

Spec: developer.hashicorp.com/consul/api-docs/features/blocking, and what its servers do.
"""

from dataclasses import dataclass, field

SLACK_SECONDS = 10.0
"""Network and server time beyond the wait itself."""

BURST = 5
REFILL_SECONDS = 1.0
"""One watch may query five times at once and then once per second: a service that changes all the
time costs the servers no more, and a change of an ordinary one is asked for at once."""

FIRST_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 15.0


def next_index(previous: int, returned: int | None) -> int:
    """Give the index for the next query.

    An index that goes backwards (a snapshot was restored, servers were upgraded) starts anew with
    0; a missing or zero one counts as 1, which can always be waited on (0 answers at once, for
    ever).
    """
    if returned is None or returned < 1:
        return 1
    return 0 if returned < previous else returned


def read_timeout(wait_seconds: float) -> float:
    """Give how long an answer may take: the server adds up to a sixteenth of the wait."""
    return wait_seconds * (1 + 1 / 16) + SLACK_SECONDS


def retry_delay(failures: int, *, jitter: float) -> float:
    """Give the pause in seconds after the n-th failure in a row; `jitter` is 0 … 1.

    It grows with the square and stays far below Consul's own client's (5 s · n²), because a held
    catalog is a mesh that does not learn of new instances.
    """
    delay = min(FIRST_RETRY_SECONDS * failures**2, MAX_RETRY_SECONDS)
    return delay * (0.75 + 0.5 * jitter)


def fair_wait(wanted: float, *, watches: int, slots: int) -> float:
    """Give the wait in seconds where more services are watched than may have a connection.

    The agent allows about 200 connections per client address; beyond it watches take turns, and
    short waits keep a round near ten seconds.
    """
    if watches <= slots:
        return wanted
    return min(wanted, max(1.0, 10.0 * slots / watches))


@dataclass(slots=True)
class TokenBucket:
    """How often one watch may ask."""

    burst: int = BURST
    refill_seconds: float = REFILL_SECONDS
    _tokens: float = field(init=False)
    _at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Start full."""
        self._tokens = float(self.burst)

    def take(self, now: float) -> float:
        """Take one; give how many seconds to wait before the query that it is for."""
        self._refill(now)
        self._tokens -= 1
        return max(0.0, -self._tokens) * self.refill_seconds

    def up_to(self, wanted: int, now: float) -> int:
        """Take as many as are there and wanted; give how many."""
        self._refill(now)
        taken = min(wanted, int(max(0.0, self._tokens)))
        self._tokens -= taken
        return taken

    def _refill(self, now: float) -> None:
        gained = max(0.0, now - self._at) / self.refill_seconds
        self._tokens = min(float(self.burst), self._tokens + gained)
        self._at = now
