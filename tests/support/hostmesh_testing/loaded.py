"""A steady load between two lab hosts, and the one question about it: did anything fail?"""

from collections.abc import Sequence

from hostmesh_ctl.demo.account import Account, Incident, account
from hostmesh_ctl.demo.hosts import Host
from hostmesh_ctl.demo.load import Record
from hostmesh_ctl.demo.mesh import wait_for
from hostmesh_ctl.demo.traffic import App, LoadClient, journal_of

RATE = 60.0


class Loaded:
    """A steady load that has begun to be answered; `rate` in requests a second."""

    def __init__(
        self, client: Host, service: str, port: int, apps: Sequence[App], *, rate: float = RATE
    ) -> None:
        self._apps = list(apps)
        self._load = LoadClient(client, service, port, rate=rate)
        wait_for("answers", lambda: sum(not each.error for each in self.records()) > 20)

    def records(self, *, since: float = 0.0) -> list[Record]:
        """Give the requests that began after `since` and have ended."""
        return self._load.records(since=since)

    def account(self, incidents: Sequence[Incident] = ()) -> Account:
        """Stop, and sort every request."""
        return account(self._load.stop(), journal_of(self._apps), incidents)


def told(records: Sequence[Record]) -> list[str]:
    """Give failed requests as lines, for a test's message."""
    return [f"{r.method} {r.id} kept={r.kept} {r.start:.2f}+{r.end - r.start:.2f}: {r.error}"
            for r in records[:10]]  # fmt: skip
