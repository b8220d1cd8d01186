"""The redirector's watch over Envoy, on a process and a listener of this machine."""

import os
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest

from hostmesh_agent.redirector import envoy
from hostmesh_agent.redirector.inputs import Inputs
from hostmesh_agent.redirector.watch import EnvoyWatch
from hostmesh_core.capture_plan import CapturePlan
from hostmesh_core.envoy_silence import OVERLOADED_SECONDS, SILENT_SECONDS
from hostmesh_core.redirect_files import EnvoyProcess, RedirectState, Wanted
from hostmesh_testing.rooted_layout import RootedLayout, rooted_layout

pytestmark = pytest.mark.process
_PROXY_UID = os.getuid() or 1337
"""Envoy's user is never root."""
PLAN = CapturePlan(proxy_uid=7, proxy_gid=7, agent_uid=8)
READY = b"HTTP/1.1 200 OK\r\n\r\n"
NOT_READY = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"


@dataclass
class Stage:
    """A process, its readiness listener, and a watch whose clock the test moves."""

    inputs: Inputs
    server: socket.socket
    watch: EnvoyWatch = field(default_factory=EnvoyWatch)
    now: float = 1000.0
    waiting: list[socket.socket] = field(default_factory=list)

    def pass_on(self, seconds: float) -> None:
        """Let the watch look every half second."""
        for _ in range(int(seconds * 2)):
            self.now += 0.5
            self.watch.update(self.inputs, self.now)

    def answer(self, said: bytes) -> None:
        """Answer what was asked until now."""
        with suppress(BlockingIOError):
            while True:
                self.waiting.append(self.server.accept()[0])
        for connection in self.waiting:
            with suppress(OSError):  # given up
                connection.sendall(said)
            connection.close()
        self.waiting.clear()

    def end(self) -> None:
        """Close everything."""
        self.watch.release()
        for connection in self.waiting:
            connection.close()

    def serve(self) -> None:
        """Bring it to where it serves."""
        self.pass_on(0.5)
        self.answer(READY)
        self.pass_on(0.5)
        assert self.watch.seen.answers


@pytest.fixture
def stage() -> Iterator[Stage]:
    with (
        rooted_layout() as layout,
        socket.create_server(("127.0.0.1", 0), backlog=64) as server,
        subprocess.Popen(["sleep", "60"], user=_PROXY_UID) as process,
    ):
        made = _stage(layout, server, process.pid)
        try:
            yield made
        finally:
            made.end()
            process.kill()


def _stage(layout: RootedLayout, server: socket.socket, pid: int) -> Stage:
    server.settimeout(0)
    plan = replace(PLAN, readiness_port=server.getsockname()[1], proxy_uid=_PROXY_UID)
    named = EnvoyProcess(epoch=0, pid=pid, started=envoy.started(pid), ready=True)
    state = RedirectState(sequence=1, wanted=Wanted.CAPTURED, envoy=named)
    Path(layout.capture_file).write_bytes(plan.encode())
    Path(layout.redirect_state_file).write_bytes(state.encode())
    inputs = Inputs(layout)
    inputs.refresh()
    return Stage(inputs, server)


def test_a_late_answer_is_one(stage: Stage) -> None:
    stage.serve()
    for _ in range(3):
        stage.pass_on(6.0)
        assert stage.watch.seen.answers
        stage.answer(READY)
        stage.pass_on(0.5)
    assert stage.watch.seen.answers


@pytest.mark.parametrize("how", ["silent", "not ready", "refused"])
def test_it_serves_until_it_was_not_ready_for_ten_seconds(stage: Stage, how: str) -> None:
    stage.serve()
    if how == "refused":
        stage.server.close()
    waited = 0.0
    while stage.watch.seen.answers:
        stage.pass_on(0.5)
        waited += 0.5
        if how == "not ready":
            stage.answer(NOT_READY)
    assert SILENT_SECONDS <= waited <= SILENT_SECONDS + 3.0


def test_a_watch_that_stood_still_waits_for_the_answer(stage: Stage) -> None:
    stage.serve()
    stage.pass_on(2.0)
    stage.now += 60.0
    stage.watch.update(stage.inputs, stage.now)
    assert stage.watch.seen.answers
    stage.answer(READY)
    stage.pass_on(1.0)
    assert stage.watch.seen.answers


def test_its_end_needs_no_question(stage: Stage) -> None:
    stage.serve()
    held = stage.watch.held
    assert held is not None
    os.kill(held.envoy.pid, 9)
    select.select([held.pidfd], [], [], 5.0)
    stage.watch.update(stage.inputs, stage.now)
    assert not stage.watch.seen.answers


def test_one_whose_workers_are_busy_is_waited_for_longer(stage: Stage) -> None:
    """The clock of this test runs by steps; what the workers did is told to it likewise."""
    stage.serve()
    held = stage.watch.held
    assert held is not None
    worked = iter(count(start=5.0, step=0.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held.worker_time, "seconds", lambda: next(worked))
        stage.pass_on(3 * SILENT_SECONDS)
        assert stage.watch.seen.answers
        stage.pass_on(OVERLOADED_SECONDS)
        assert not stage.watch.seen.answers
