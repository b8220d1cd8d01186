"""A `join` that is killed at any point: run again it ends joined, and `leave` leaves nothing.

The points are seen from outside, by what has appeared on the host so far. Every second point kills
the join alone, so that its child goes on for a moment; the others kill its whole process group.
"""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from hostmesh_core.errors import HostmeshError
from hostmesh_core.host_layout import HostLayout
from hostmesh_ctl.demo.hosts import Host, Lab, program
from hostmesh_ctl.demo.mesh import Agent
from hostmesh_ctl.demo.processes import Running, send
from hostmesh_testing import host_snapshot
from hostmesh_testing.host_snapshot import Snapshot
from hostmesh_testing.lab_mesh import LabMesh, agent_yaml, start_app

LAYOUT = HostLayout()
TOKEN_FILE = "/root/join.token"
USERS = ["--agent-user", "1500", "--envoy-user", "1337"]
LONGEST_SECONDS = 60.0
AT_A_TIME = 3


@dataclass(frozen=True)
class Trial:
    """A host on which joins are killed, and how it was before any of them."""

    mesh: LabMesh
    host: Host
    before: Snapshot

    def begin(self) -> Running:
        """Start a join with a token of its own."""
        token = self.mesh.control_plane.token("--service", self.host.name)
        self.host.write(TOKEN_FILE, token + "\n", mode=0o600)
        log = self.host.folder / "join.log"
        log.unlink(missing_ok=True)
        argv = [program("hostmesh-agent"), "join", "--token-file", TOKEN_FILE, "--watch", "0"]
        return self.host.spawn("join", [*argv, *USERS])

    def again(self) -> str:
        """Run the same join again, to its end; give what is wrong with that, if anything."""
        argv = [program("hostmesh-agent"), "join", "--token-file", TOKEN_FILE, "--watch", "0"]
        done = self.host.run([*argv, *USERS], check=False, timeout=150)
        if done.returncode != 0:
            return f"run again: status {done.returncode}: {done.stdout} {done.stderr}"
        rows = self.mesh.control_plane.endpoints(self.host.name).values()
        return "" if any(row["meshed"] for row in rows) else "run again: not registered"

    def leave(self) -> str:
        """Leave; give what is wrong with that, or what is left."""
        done = self.host.run([program("hostmesh-agent"), "leave"], check=False, timeout=200)
        if done.returncode != 0:
            return f"leave: status {done.returncode}: {done.stdout} {done.stderr}"
        left = host_snapshot.differences(self.before, host_snapshot.take(self.host))
        return f"left behind: {left}; {done.stdout} {done.stderr}" if left else ""


Reached = Callable[[Trial, Running], bool]


def said(words: str) -> Reached:
    return lambda _, running: words in running.said()


def there(path: str) -> Reached:
    return lambda trial, _: os.path.lexists(trial.host.path(path))


def holds(path: str, words: str) -> Reached:
    def reached(trial: Trial, _: Running) -> bool:
        file = Path(trial.host.path(path))
        return file.exists() and words in file.read_text()

    return reached


def registered(trial: Trial, _: Running) -> bool:
    try:
        return bool(trial.mesh.control_plane.endpoints(trial.host.name))
    except HostmeshError:
        return False  # nobody has registered it yet


IDENTITY = LAYOUT.identity_dir
POINTS: dict[str, Reached] = {
    "the process has started": lambda _, running: running.alive,
    "it looks at the apps": said("looking at the apps"),
    "the state folder is there": there(LAYOUT.state_dir),
    "the run folders are there": there(LAYOUT.control_dir),
    "it tries the ports": said("trying the control plane's ports"),
    "it enrols": said("enrolling"),
    "the key is kept": there(f"{IDENTITY}/pending/request.json"),
    "the first file of the identity is there": there(f"{IDENTITY}/host.json"),
    "the roots are there": there(f"{IDENTITY}/bundles.json"),
    "the certificate's folder is there": there(f"{IDENTITY}/host/v-1"),
    "the host counts as joined": there(f"{IDENTITY}/host/current"),
    "it starts everything": said("starting the agent"),
    "the log is there": there(LAYOUT.log_file),
    "the parent has its lock": there(f"{LAYOUT.run_dir}/parent/lock"),
    "runner.json is compiled": there(LAYOUT.runner_file),
    "capture.json is compiled": there(LAYOUT.capture_file),
    "the runner listens": there(LAYOUT.runner_socket),
    "the agent listens": there(LAYOUT.control_socket),
    "Envoy listens": there(LAYOUT.admin_socket),
    "the rules are in": holds(LAYOUT.redirector_report_file, '"applied"'),
    "the names are in": holds("/etc/hosts", "mesh.internal"),
    "the service is registered": registered,
    "the token's file is gone": lambda trial, _: not trial.host.path(TOKEN_FILE).exists(),
}
SLICE = ("the key is kept", "the certificate's folder is there", "runner.json is compiled")


def killed_at(trial: Trial, point: str) -> str:
    """Begin a join and kill it at the point; give what is wrong, if it was never reached."""
    running = trial.begin()
    end = time.monotonic() + LONGEST_SECONDS
    while not POINTS[point](trial, running):
        if time.monotonic() > end or not (running.alive or POINTS[point](trial, running)):
            return f"never reached: {running.said()}"
    if list(POINTS).index(point) % 2:
        running.signal(signal.SIGKILL)
    elif running.alive:
        os.killpg(os.getpgid(running.pid), signal.SIGKILL)
    send(running.pid, signal.SIGKILL)
    running.wait(10)
    return ""


def tried(trial: Trial, point: str) -> list[str]:
    """Kill at the point and leave; kill at the point, run again and leave."""
    wrong = [killed_at(trial, point), trial.leave()]
    wrong += [killed_at(trial, point), trial.again(), trial.leave()]
    return [f"{point}: {text}" for text in wrong if text]


def _trial(mesh: LabMesh, number: int) -> Trial:
    host = mesh.host(f"trial{number}")
    mesh.agents[host.name] = Agent(
        host, agent_yaml([f"{{name: {host.name}, port: 8080, protocol: http}}"])
    )
    start_app(host, "http", host.name, 8080)
    host_snapshot.settle(host)
    return Trial(mesh, host, host_snapshot.take(host))


def _all(lab: Lab, points: list[str]) -> list[str]:
    mesh = LabMesh(lab)
    trials = [_trial(mesh, number) for number in range(min(AT_A_TIME, len(points)))]

    def share(number: int) -> list[str]:
        mine = points[number :: len(trials)]
        return [wrong for point in mine for wrong in tried(trials[number], point)]

    with ThreadPoolExecutor(len(trials)) as threads:
        return [wrong for found in threads.map(share, range(len(trials))) for wrong in found]


def test_killed_at_a_few_points_it_goes_on_and_leaves_nothing(lab: Lab) -> None:
    assert _all(lab, list(SLICE)) == []


@pytest.mark.soak
@pytest.mark.parametrize("part", range(4))
def test_killed_at_every_point_it_goes_on_and_leaves_nothing(lab: Lab, part: int) -> None:
    assert len(POINTS) >= 20
    assert _all(lab, list(POINTS)[part::4]) == []
