"""Remembers what this kernel could not do of the guard: capture goes in without it then.

A kernel may lack what the guard's rules match with, or somebody may keep the filter table in a form
that iptables cannot show. What fails for once is tried again.
"""

from dataclasses import dataclass, field

from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.installed import Installed
from hostmesh_agent.redirector.plan import Able
from hostmesh_core.backoff import next_delay

FIRST_AGAIN_SECONDS, LONGEST_AGAIN_SECONDS = 30.0, 3600.0
_MEANS = (
    "a connection that is given the local port of an earlier one may go past Envoy in plaintext"
)


@dataclass
class Guardable:
    """Which families can have the guard."""

    _refused: dict[Family, tuple[str, float]] = field(default_factory=dict)
    _waits: dict[Family, float] = field(default_factory=dict)
    _unreadable: frozenset[Family] = frozenset()

    def able(self, installed: Installed, now: float) -> Able:
        """Say what can be put in; `now` in seconds of the monotonic clock."""
        self._refused = {f: (why, end) for f, (why, end) in self._refused.items() if now < end}
        self._unreadable = installed.unreadable
        guarded = installed.usable - self._unreadable - self._refused.keys()
        return Able(usable=installed.usable, guarded=guarded)

    def refuse(self, families: frozenset[Family], reason: str, now: float) -> None:
        """Take in that the guard could not be put in there."""
        for family in families:
            wait = next_delay(
                self._waits.get(family, 0.0),
                first=FIRST_AGAIN_SECONDS,
                factor=2.0,
                limit=LONGEST_AGAIN_SECONDS,
            )
            self._waits[family] = wait
            self._refused[family] = (reason, now + wait)

    def allow(self) -> None:
        """Forget what was refused: it was not the guard's fault."""
        self._refused, self._waits = {}, {}

    def notes(self) -> list[str]:
        """Give a sentence for each family without the guard."""
        said = {family: reason for family, (reason, _) in self._refused.items()} | dict.fromkeys(
            self._unreadable, "somebody put native nft rules into iptables' filter table"
        )
        return [
            f"the guard is not in for IPv{family}: {reason}; {_MEANS}"
            for family, reason in sorted(said.items())
        ]
