"""Counts what became of every request, and which failures have an excuse. Pure.

An excuse needs evidence: the app's own log, the moment of a kill or a cut, or the span in which the
client's own Envoy was down. Everything else that did not succeed is failed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hostmesh_ctl.demo.load import Record

CUT_SECONDS = 1.0
"""After a cut, what must not be repeated may still have been sent to the cut host for this long."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """An app was killed."""

    server: str
    at: float
    gone: float = 0.0
    """When it had ended, where that was seen; else at that very moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A server's host was taken off the network, at some moment between the two."""

    server: str
    at: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEnvoyDown:
    """The client's own Envoy was away from `start` to `end`."""

    start: float
    end: float


Incident = Killed | Cut | OwnEnvoyDown


@dataclass(slots=True)
class Journal:
    """What the apps' own logs say: which server began and ended which request."""

    begun: dict[str, set[str]] = field(default_factory=dict)
    ended: dict[str, set[str]] = field(default_factory=dict)

    def add(self, server: str, events: Iterable[Mapping[str, object]]) -> None:
        """Take in one app's log."""
        begun = self.begun.setdefault(server, set())
        ended = self.ended.setdefault(server, set())
        for event in events:
            (begun if event["event"] == "begin" else ended).add(str(event["id"]))

    def only(self, server: str, number: str) -> bool:
        """Tell whether no other server began this request."""
        return not any(number in ids for name, ids in self.begun.items() if name != server)

    def has_begun(self, server: str, number: str) -> bool:
        """Tell whether `server` began this request."""
        return number in self.begun.get(server, set())

    def has_ended(self, server: str, number: str) -> bool:
        """Tell whether `server` ended this request."""
        return number in self.ended.get(server, set())


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The sum of it all."""

    sent: int
    succeeded: int
    failed: tuple[Record, ...]
    in_flight: tuple[Record, ...]
    """Inside a killed app, or under way to a host that was cut."""
    own_envoy_down: tuple[Record, ...]
    longest_wait: float
    """Seconds; of all requests that have no excuse."""
    by_server: Mapping[str, int]
    kept: int
    fresh: int


def account(records: Sequence[Record], journal: Journal, incidents: Sequence[Incident]) -> Account:
    """Sort every request into succeeded, failed, or one of the two that have an excuse."""
    failed: list[Record] = []
    in_flight: list[Record] = []
    down: list[Record] = []
    good: list[Record] = []
    for record in records:
        if not record.error:
            good.append(record)
        elif any(_was_in_flight(record, each, journal) for each in incidents):
            in_flight.append(record)
        elif any(_own_envoy_was_down(record, each) for each in incidents):
            down.append(record)
        else:
            failed.append(record)
    return Account(
        sent=len(records),
        succeeded=len(good),
        failed=tuple(failed),
        in_flight=tuple(in_flight),
        own_envoy_down=tuple(down),
        longest_wait=max((each.end - each.start for each in [*good, *failed]), default=0.0),
        by_server=Counter(each.server for each in good),
        kept=sum(1 for each in records if each.kept),
        fresh=sum(1 for each in records if not each.kept),
    )


def _was_in_flight(record: Record, incident: Incident, journal: Journal) -> bool:
    match incident:
        case Killed():
            return _was_inside(record, incident, journal)
        case Cut():
            return _lost_to_the_cut(record, incident, journal)
        case OwnEnvoyDown():
            return False


def _was_inside(record: Record, killed: Killed, journal: Journal) -> bool:
    if not (record.start <= max(killed.at, killed.gone) and killed.at <= record.end):
        return False
    if journal.has_begun(killed.server, record.id):
        return not journal.has_ended(killed.server, record.id)
    # It lay unread in the app's socket: nobody can know that, so what is not safe is not repeated.
    return record.method not in SAFE and journal.only(killed.server, record.id)


def _lost_to_the_cut(record: Record, cut: Cut, journal: Journal) -> bool:
    under_way = record.start <= cut.until and cut.at <= record.end
    if under_way and journal.has_begun(cut.server, record.id):
        return True  # it arrived; its answer did not
    # What no other server has seen was sent to the cut host, if it was sent at all; what may be
    # repeated has no excuse for not having been.
    sent_into_the_cut = under_way or cut.at < record.start <= cut.until + CUT_SECONDS
    return sent_into_the_cut and record.method not in SAFE and journal.only(cut.server, record.id)


def _own_envoy_was_down(record: Record, incident: Incident) -> bool:
    if not isinstance(incident, OwnEnvoyDown):
        return False
    return record.start <= incident.end and record.end >= incident.start
