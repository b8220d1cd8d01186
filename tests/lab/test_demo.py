"""The demo itself: played to its end, and interrupted."""

import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from hostmesh_ctl.demo.commands import run
from hostmesh_ctl.demo.hosts import PREFIX, program

LAST = re.compile(
    r"(?P<sent>\d+) requests at 60/s, 0 failed, \d+ retried by Envoy; in flight at the kill: \d+; "
    r"while the client's own Envoy was down: \d+ \((?P<down>[0-9.]+) s\); "
    r"longest wait (?P<wait>[0-9.]+) s; Consul part: shown"
)
SECONDS = 90.0


def _left_of(pid: int) -> list[str]:
    """Give what a demo of this pid has left: its folders, and processes that know them."""
    name = f"{PREFIX}{pid}-"
    folders = [path.name for path in Path(tempfile.gettempdir()).glob(f"{name}*")]
    lines = run(["ps", "-eo", "args"]).stdout.splitlines()
    return folders + [line for line in lines if name in line]


@pytest.mark.timeout(200)
def test_the_demo_shows_everything_and_leaves_nothing(consul_bin: Path) -> None:
    env = {**os.environ, "CONSUL_BIN": str(consul_bin)}
    with subprocess.Popen([program("hostmesh"), "demo"], stdout=-1, text=True, env=env) as demo:
        said = demo.communicate(timeout=180)[0]
    print(said)
    last = LAST.fullmatch(said.rstrip().splitlines()[-1])
    assert last is not None
    assert demo.returncode == 0
    assert int(last["sent"]) > 1000
    assert float(last["down"]) <= 1.0
    assert float(last["wait"]) <= 2.0
    took = max(float(found) for found in re.findall(r"^\[ *([0-9.]+) s\]", said, re.MULTILINE))
    assert took < SECONDS
    for source in ("static+registered", "consul+registered"):
        assert source in said
    assert _left_of(demo.pid) == []


def test_an_interrupted_demo_leaves_nothing(consul_bin: Path) -> None:
    env = {**os.environ, "CONSUL_BIN": str(consul_bin)}
    with subprocess.Popen([program("hostmesh"), "demo"], stdout=-1, text=True, env=env) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "load:" in line:
                break
        assert _left_of(demo.pid)
        demo.send_signal(signal.SIGINT)
        demo.stdout.read()
        assert demo.wait(30) == 130
    assert _left_of(demo.pid) == []
