"""Keeps the programs running: each restarted alone with backoff, all ended in order.

One thread, no asyncio: it waits on pidfds, signals and the time of the next restart.
"""

import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hostmesh_agent.parent import processes
from hostmesh_agent.parent.processes import Program, Running
from hostmesh_core import exit_status
from hostmesh_core.backoff import next_delay

SETTLED_SECONDS = 10.0
"""A process that ran this long is restarted at once again."""
STOP_SECONDS = 20.0
"""From TERM to KILL of each process."""
FIRST_DELAY, LONGEST_DELAY = 0.2, 10.0
ADOPT_SECONDS = 2.0


def say(text: str) -> None:
    """Say something on stderr."""
    with suppress(OSError):
        sys.stderr.write(f"hostmesh-agent run --all: {text}\n")
        sys.stderr.flush()


@dataclass(slots=True, eq=False)
class Kept:
    """One program and how it fares."""

    program: Program
    running: Running | None = None
    started: float = 0.0
    delay: float = 0.0
    due: float | None = None
    """When to start it again (monotonic)."""


class Keeper:
    """The parent's one loop."""

    def __init__(self, programs: Sequence[Program], *, on_hangup: Callable[[], None]) -> None:
        self._kept = [Kept(program) for program in programs]
        self._on_hangup = on_hangup
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)  # noqa: FBT003
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._stopping = False
        self._hung_up = False

    def listen_to_signals(self) -> None:
        """Take TERM and INT as the order to end, HUP as the order to read the files again."""
        signal.set_wakeup_fd(self._waker.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._hang_up)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _hang_up(self, *_: object) -> None:
        self._hung_up = True

    def run(self) -> None:
        """Adopt or start each program, keep them running; return when told to end."""
        for kept in self._kept:
            self._adopt(kept)
        while not self._stopping:
            for kept in self._kept:
                if kept.running is None and kept.due is not None and kept.due <= time.monotonic():
                    self._start(kept)
            self._wait(self._next_due())
            if self._hung_up:
                self._hung_up = False
                self._on_hangup()

    def _adopt(self, kept: Kept) -> None:
        """Go on with a process that an earlier parent started, if it still answers."""
        program = kept.program
        found = processes.find(program)
        if found is None:
            self._start(kept)
            return
        self._watch(kept, found)
        # Envoy's runner is kept whatever changed: with it would go every connection.
        wanted = bool(program.socket) or processes.is_as_wanted(program)
        if wanted and _answers(program.socket):
            say(f"found {program.name} pid={found.pid} running, going on with it")
            return
        say(f"replacing {program.name} pid={found.pid}")
        self._end(kept)
        self._start(kept)

    def _start(self, kept: Kept) -> None:
        kept.due, kept.started = None, time.monotonic()
        try:
            running = processes.start(kept.program)
        except OSError as error:
            say(f"cannot start {kept.program.name}: {error.strerror}")
            self._again(kept)
            return
        say(f"started {kept.program.name} pid={running.pid}")
        self._watch(kept, running)

    def _watch(self, kept: Kept, running: Running) -> None:
        kept.running = running
        self._selector.register(running.pidfd, selectors.EVENT_READ, kept)

    def _next_due(self) -> float | None:
        due = [kept.due for kept in self._kept if kept.due is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _wait(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            if isinstance(key.data, Kept):
                self._ended(key.data)
            else:
                with suppress(OSError):
                    self._woken.recv(64)

    def _ended(self, kept: Kept) -> None:
        if kept.running is None:
            return
        self._selector.unregister(kept.running.pidfd)
        pid, status = kept.running.pid, kept.running.reap()
        kept.running = None
        processes.forget(kept.program)
        if self._stopping:
            return
        if status == exit_status.LEFT:
            say(f"{kept.program.name} pid={pid}: this host has left the mesh")
            self._stopping = True
            return
        self._again(kept)
        told = "" if status is None else f" status={status}"
        say(f"{kept.program.name} pid={pid} ended{told}; starting it again in {kept.delay:g} s")

    def _again(self, kept: Kept) -> None:
        now = time.monotonic()
        if now - kept.started > SETTLED_SECONDS:
            kept.delay = 0.0
        kept.delay = next_delay(kept.delay, first=FIRST_DELAY, factor=2, limit=LONGEST_DELAY)
        kept.due = now + kept.delay

    def runs(self, name: str) -> bool:
        """Tell whether a program runs now."""
        return any(k.running is not None for k in self._kept if k.program.name == name)

    def end(self, name: str) -> None:
        """End one program: TERM, and KILL where it takes too long."""
        self._stopping = True
        for kept in self._kept:
            if kept.program.name == name:
                self._end(kept)

    def _end(self, kept: Kept) -> None:
        stopping, self._stopping = self._stopping, True
        for number in (signal.SIGTERM, signal.SIGKILL):
            if kept.running is not None:
                kept.running.signal(number)
                self._await_end(kept)
        self._stopping = stopping

    def _await_end(self, kept: Kept) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while kept.running is not None and time.monotonic() < deadline:
            self._wait(max(0.0, deadline - time.monotonic()))


def _answers(path: str) -> bool:
    """Tell whether somebody takes connections at the socket; one without a socket always does."""
    if not path:
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ADOPT_SECONDS)
        try:
            connection.connect(path)
        except OSError:
            return False
    return True
