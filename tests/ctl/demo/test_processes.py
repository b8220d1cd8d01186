import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hostmesh_ctl.demo.processes import Running, child_of, start_ticks
from hostmesh_testing.waiting import wait_until

pytestmark = pytest.mark.process


def test_a_start_tells_a_process_from_a_later_one_of_its_number() -> None:
    assert start_ticks(os.getpid()) > 0
    assert start_ticks(os.getpid()) == start_ticks(os.getpid())


def test_a_zombie_does_not_count_as_running() -> None:
    with subprocess.Popen(["true"]) as ended:
        wait_until(lambda: start_ticks(ended.pid) == 0, what="the end")


def test_a_process_that_ends_without_a_child_has_none() -> None:
    with subprocess.Popen(["true"]) as childless:
        assert child_of(childless.pid) == 0


def _start(argv: list[str], log: Path) -> Running:
    with log.open("wb") as output:
        return Running("x", subprocess.Popen(argv, stdout=output, start_new_session=True), log)


def test_the_inner_process_gets_the_signals(tmp_path: Path) -> None:
    # The outer one stands for nsenter, which passes no signal on.
    inner = "import time; print('up', flush=True); time.sleep(60)"
    code = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {inner!r}]))"
    running = _start([sys.executable, "-c", code], tmp_path / "log")
    wait_until(lambda: "up" in running.said())
    assert running.wait(0.05) is None  # alive
    running.signal(signal.SIGKILL)
    assert running.wait(5) is not None
    assert not running.alive
    running.signal(signal.SIGTERM)  # after its end: nothing


def test_a_stubborn_process_is_killed(tmp_path: Path) -> None:
    inner = (
        "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    )
    code = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {inner!r}]))"
    running = _start([sys.executable, "-c", code], tmp_path / "log")
    wait_until(lambda: "up" in running.said())
    assert running.stop(seconds=0.2) is not None
