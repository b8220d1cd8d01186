"""Follows who calls this host's services: reads Envoy's counters, keeps the book, reports it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from hostmesh_agent.config import ServiceConfig, ServiceKey
from hostmesh_agent.edges import callers_file as file
from hostmesh_agent.edges.clock import SystemClock
from hostmesh_agent.edges.runner_client import Process
from hostmesh_agent.logic import callers, callers_file
from hostmesh_agent.logic.callers import Book, Counted, Marks, Window
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput, HostmeshError

log = logging.getLogger("hostmesh.callers")

READ_SECONDS = 2.0
READ_SHARE = 0.02
"""The share of Envoy's main thread that reading may take: a slow answer makes for fewer of them."""
SAVE_SECONDS = 10.0
"""An agent that is killed forgets when these came; how many it reads in Envoy again."""


class Admin(Protocol):
    """What this asks of Envoy's admin (`edges.envoy_admin`)."""

    async def counters(self, pattern: str) -> dict[str, int]:
        """Give the counters of these names. Raises a HostmeshError."""

    async def epoch(self) -> int | None:
        """Give the epoch of the Envoy that answers. Raises a HostmeshError."""


class Counting(Protocol):
    """What this asks of Envoy (`app.envoy`)."""

    @property
    def admin(self) -> Admin:
        """Its admin."""

    @property
    def serving(self) -> bool:
        """Whether a worker answers."""

    @property
    def epoch(self) -> int | None:
        """The epoch of the one that serves."""

    @property
    def process(self) -> Process | None:
        """Its process."""


class Clock(Protocol):
    """What this asks of clocks."""

    def wall(self) -> float:
        """Give seconds since the epoch."""

    def monotonic(self) -> float:
        """Give seconds that never jump."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Control(Protocol):
    """What this asks of the host stream (`app.host`)."""

    @property
    def report_seconds(self) -> float:
        """How often a report may be sent."""

    def report_callers(self, report: pb.Callers) -> None:
        """Report all callers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is asked at each reading."""

    services: Callable[[], Sequence[ServiceConfig]]
    """Those that agent.yaml declares now."""
    captured: Callable[[], bool]
    """Whether everything that comes for them passes Envoy."""
    joined: Callable[[], bool] = lambda: True
    """Whether this host still is in the mesh: after it has left nothing is kept."""
    clock: Clock = field(default_factory=SystemClock)


class CallersService:
    """The book of one host."""

    def __init__(self, path: str, envoy: Counting, control: Control, around: Surroundings) -> None:
        self._path = path
        self._envoy = envoy
        self._control = control
        self._around = around
        self._clock = around.clock
        self._book = self._load()
        self._marks = Marks()
        self._interrupted = False
        self._told: Mapping[ServiceKey, Counted] | None = None
        self._told_at = self._kept_at = 0.0
        self._kept = self._book

    def counted(self, key: ServiceKey) -> Counted | None:
        """Give what is counted of a service; None = nothing is yet."""
        return self._book.services.get(key)

    def window(self, key: ServiceKey, seconds: float = callers.RECENT_SECONDS) -> Window | None:
        """Give what was counted in the last seconds."""
        return callers.window(self._book, self._marks, key, seconds=seconds)

    async def run(self) -> NoReturn:
        """Read for ever, and keep the book at the end."""
        try:
            while True:
                began = self._clock.monotonic()
                await self.read()
                took = self._clock.monotonic() - began
                self._tell()
                self._keep()
                await self._clock.sleep(max(READ_SECONDS, took / READ_SHARE))
        finally:
            self._keep(at_once=True)

    async def read(self) -> None:
        """Read once. What Envoy does not answer now is read the next time."""
        process, epoch = self._envoy.process, self._envoy.epoch
        if process is None or not (self._envoy.serving and self._around.captured()):
            self._interrupted = True
            return
        try:
            counters = await self._envoy.admin.counters(callers.PATTERN)
            said = await self._envoy.admin.epoch()
        except HostmeshError as error:
            log.debug("callers not read: %s", error)
            return
        if said != epoch or self._envoy.process != process:
            return  # another Envoy is taking over: whose numbers these are is not certain
        self._book = callers.observe(
            self._book,
            self._around.services(),
            counters,
            envoy=(process.pid, process.started),
            now=self._clock.wall(),
            interrupted=self._interrupted,
        )
        self._marks = self._marks.add(self._book, at=self._clock.monotonic())
        self._interrupted = False

    def _tell(self) -> None:
        now, services = self._clock.monotonic(), self._book.services
        due = self._told is None or now - self._told_at >= self._control.report_seconds
        if self._book.envoy is not None and due and services != self._told:
            self._told, self._told_at = services, now
            self._control.report_callers(callers.report(self._book))

    def _keep(self, *, at_once: bool = False) -> None:
        now = self._clock.monotonic()
        changed = self._book.services != self._kept.services or self._book.envoy != self._kept.envoy
        due = at_once or now - self._kept_at >= SAVE_SECONDS
        if not (changed and due and self._around.joined()):
            return
        self._kept_at = now
        try:
            file.write(self._path, callers_file.encode(self._book))
            self._kept = self._book
        except file.CannotKeep as error:
            log.warning("%s", error)

    def _load(self) -> Book:
        data = file.read(self._path)
        try:
            return Book() if data is None else callers_file.decode(data, where=self._path)
        except BadInput as error:
            log.warning("%s; callers are counted from now on", error)
            return Book()
