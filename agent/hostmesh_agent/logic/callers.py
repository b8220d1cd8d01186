"""Who calls this host's services: Envoy's counters in, a book of callers out (`app.callers`).

Envoy's counters begin at nothing with each process and after an eviction, so the book remembers
what it last read of which process and adds only what came since. A counter that is smaller than it
was, or one of another process, began anew: all of it is new. What came after the last reading
before a crash is lost with that Envoy. In a hot restart the old one hands over what it has not
flushed, which is not quite what the book has not read: some calls of the seconds before it may
count twice, or not at all.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hostmesh_agent.config import ServiceConfig, ServiceKey
from hostmesh_core import names
from hostmesh_core._pb import host_pb2 as pb

PATTERN = "^" + re.escape(names.CALLERS_STATS + ".")
"""What Envoy's admin is asked for: these counters and no others."""
MOST_TOLD = 256
"""Addresses of a service in the message to the control plane."""
MOST_KEPT = 2048
"""Addresses of a service in the book; the one that was seen longest ago goes."""
GAP_SECONDS = 600.0
"""Not counting for longer than this, the book cannot say any more who has called since it began."""
RECENT_SECONDS = 60.0

_NAME = re.compile(
    rf"{re.escape(names.CALLERS_STATS)}\.(?P<kind>[a-z_]+)\.port\.(?P<port>\d+)"
    r"(?:\.caller\.(?P<caller>.+))?"
)

Envoy = tuple[int, int]
"""Pid and start time: this very process."""
Counters = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Caller:
    """One source address that calls without the mesh. Times are seconds since the epoch."""

    requests: int
    first_seen: float
    last_seen: float


@dataclass(frozen=True, slots=True)
class Counted:
    """What has been counted of one service."""

    since: float
    plaintext: int = 0
    mutual_tls: int = 0
    last_plaintext: float = 0.0
    """0 = never."""
    callers: Mapping[str, Caller] = field(default_factory=dict)

    def latest(self) -> list[tuple[str, Caller]]:
        """Give the callers, the latest first."""
        return sorted(self.callers.items(), key=lambda item: (-item[1].last_seen, item[0]))


@dataclass(frozen=True, slots=True)
class Book:
    """All that is kept, on disk too."""

    envoy: Envoy | None = None
    read_at: float = 0.0
    read: Counters = field(default_factory=dict)
    """The counters as that Envoy last gave them."""
    services: Mapping[ServiceKey, Counted] = field(default_factory=dict)


@dataclass(slots=True)
class _Fresh:
    """What one port's counters have grown by; made and read within one `observe`."""

    plaintext: int = 0
    mutual_tls: int = 0
    callers: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, caller: str | None, grown: int) -> None:
        """Take one counter."""
        match kind:
            case names.CALLERS_PLAINTEXT:
                self.plaintext = grown
            case names.CALLERS_MUTUAL_TLS:
                self.mutual_tls = grown
            case names.CALLERS_PLAINTEXT_FROM if caller:
                self.callers[caller] = grown
            case _:
                pass


def observe(
    book: Book,
    services: Iterable[ServiceConfig],
    counters: Counters,
    *,
    envoy: Envoy,
    now: float,
    interrupted: bool = False,
) -> Book:
    """Take one reading. `interrupted`: callers may have passed Envoy by since the last one."""
    same = envoy == book.envoy
    fresh = _fresh(counters, book.read if same else {})
    began_anew = (interrupted or not same) and now - book.read_at > GAP_SECONDS
    found: dict[ServiceKey, Counted] = {}
    for service in services:
        known = book.services.get(service.key, Counted(since=now))
        if began_anew:
            known = replace(known, since=now)
        found[service.key] = _add(known, fresh.get(service.port, _Fresh()), now)
    return Book(envoy, now, dict(counters), found)


def _fresh(counters: Counters, before: Counters) -> dict[int, _Fresh]:
    found: dict[int, _Fresh] = {}
    for name, value in counters.items():
        known = before.get(name, 0)
        grown = value - known if value >= known else value
        match = _NAME.fullmatch(name) if grown else None
        if match is not None:
            fresh = found.setdefault(int(match["port"]), _Fresh())
            fresh.add(match["kind"], match["caller"], grown)
    return found


def _add(known: Counted, fresh: _Fresh, now: float) -> Counted:
    if not (fresh.plaintext or fresh.mutual_tls or fresh.callers):
        return known
    callers = dict(known.callers)
    for address, requests in fresh.callers.items():
        had = callers.get(address, Caller(0, now, now))
        callers[address] = Caller(had.requests + requests, had.first_seen, now)
    added = replace(
        known,
        plaintext=known.plaintext + fresh.plaintext,
        mutual_tls=known.mutual_tls + fresh.mutual_tls,
        last_plaintext=now if fresh.plaintext or fresh.callers else known.last_plaintext,
        callers=callers,
    )
    if len(callers) > MOST_KEPT:
        added = replace(added, callers=dict(added.latest()[:MOST_KEPT]))
    return added


def report(book: Book) -> pb.Callers:
    """Give what the control plane is told."""
    return pb.Callers(services=[_reported(*item) for item in sorted(book.services.items())])


def _reported(key: ServiceKey, counted: Counted) -> pb.ServiceCallers:
    name, namespace, port = key
    return pb.ServiceCallers(
        service=name,
        namespace=namespace,
        workload_port=port,
        since=counted.since,
        plaintext=counted.plaintext,
        mutual_tls=counted.mutual_tls,
        last_plaintext=counted.last_plaintext,
        callers=[
            pb.PlaintextCaller(
                address=address,
                requests=caller.requests,
                first_seen=caller.first_seen,
                last_seen=caller.last_seen,
            )
            for address, caller in counted.latest()[:MOST_TOLD]
        ],
    )


# What is shown.


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted of one service in the last seconds."""

    seconds: float
    plaintext: int
    mutual_tls: int
    addresses: tuple[str, ...]
    """Who called without the mesh, the latest first."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The totals of each service after one reading."""

    at: float
    """Monotonic: a clock that is set must not stretch the last seconds, nor turn them round."""
    wall: float
    """The same moment as the book names it."""
    totals: Mapping[ServiceKey, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Marks:
    """Totals at past times, so that the last seconds can be told apart. Oldest first."""

    all: tuple[Mark, ...] = ()

    def add(self, book: Book, *, at: float, keep: float = 2 * RECENT_SECONDS) -> "Marks":
        """Note the book's totals, read at `at` (monotonic); older than `keep` seconds goes."""
        totals = {key: (c.plaintext, c.mutual_tls) for key, c in book.services.items()}
        kept = tuple(mark for mark in self.all if mark.at >= at - keep)
        return Marks((*kept, Mark(at, book.read_at, totals)))


def window(
    book: Book, marks: Marks, key: ServiceKey, *, seconds: float = RECENT_SECONDS
) -> Window | None:
    """Give what was counted in the last `seconds`, or in fewer where it counts for less long.

    None where nothing is counted for the service yet.
    """
    counted = book.services.get(key)
    known = [mark for mark in marks.all if key in mark.totals]
    if counted is None or not known:
        return None
    latest = known[-1].at
    began = next((n for n in reversed(range(len(known))) if known[n].at <= latest - seconds), 0)
    before = known[began]
    plaintext, mutual_tls = before.totals[key]
    within = known[began + 1 :]
    if before.at > latest - seconds and before.wall == counted.since:
        # Counting began with that very reading: all that it found is of these seconds.
        plaintext, mutual_tls, within = 0, 0, known
    walls = {mark.wall for mark in within}
    return Window(
        seconds=min(seconds, latest - before.at),
        plaintext=counted.plaintext - plaintext,
        mutual_tls=counted.mutual_tls - mutual_tls,
        addresses=tuple(a for a, caller in counted.latest() if caller.last_seen in walls),
    )
