"""What ends a `join` before it has changed anything, and what one that is run again starts.

What it does when nothing ends it: the lab.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from hostmesh_agent.app import enrolling, joining, journey
from hostmesh_agent.edges import control, folders, supervisor
from hostmesh_core.errors import BadInput, HostmeshError, Refused, Unreachable
from hostmesh_core.host_layout import HostLayout
from hostmesh_testing.enrolment import Server, enrolment_server
from hostmesh_testing.own_process import own_process
from hostmesh_testing.rooted_layout import RootedLayout, free_ports

pytestmark = pytest.mark.process

USERS = joining.Users(agent="64001", envoy="64002")


class World:
    """A control plane that enrols, an xDS port that takes connections, and one app."""

    def __init__(self, folder: Path, server: Server, planes: socket.socket) -> None:
        self.server = server
        self.said: list[str] = []
        self.layout = RootedLayout("journey-test", root=str(folder / "host"))
        self.file = folder / "agent.yaml"
        self.plane = f"127.0.0.1:{planes.getsockname()[1]}"
        self.enrolment = str(server.agent_config.enrolment)
        # At once, so that no two of them are the same.
        *self.own, self.mesh_port, self.app, self.closed = free_ports(8)

    def join(self, app: str, token: str, *accept: str, plane: str = "") -> enrolling.Answer:
        names = ("outbound", "inbound", "status", "readiness", "prometheus")
        own = dict(zip(names, self.own, strict=True))
        self.file.write_text(
            f"instance: journey-test\ncontrol_planes: ['{plane or self.plane}']\n"
            f"enrolment: '{self.enrolment}'\n"
            f"services: [{{name: web, mesh_port: {self.mesh_port}, {app}}}]\n"
            f"capture: {{enabled: false}}\nports: {own}\n"
        )
        order = journey.Order(str(self.file), self.layout, USERS, accept, watch_seconds=0.0)
        return journey.join(order, token, self.said.append)

    def nothing_changed(self) -> bool:
        return not Path(self.layout.root).exists()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    planes = socket.create_server(("127.0.0.1", 0))
    # The agent's user has to reach it, and a test's own folder is closed to others.
    folder = Path(tempfile.mkdtemp(prefix="hm-"))
    folder.chmod(0o755)
    try:
        with closing(planes), enrolment_server(tmp_path / "cp") as server:
            yield World(folder, server, planes)
    finally:
        shutil.rmtree(folder)


def _ends(world: World, error: type[HostmeshError], words: str, **more: str) -> None:
    token = more.get("token") or world.server.token()
    app = more.get("app", f"port: {world.app}")
    accept = [more["accept"]] if "accept" in more else []
    with pytest.raises(error, match=words):
        world.join(app, token, *accept, plane=more.get("plane", ""))
    assert world.nothing_changed()
    assert world.server.authority.hosts() == []


def test_a_finding_that_does_not_exist(world: World) -> None:
    _ends(world, BadInput, 'did you mean "speaks-first"', accept="speak-first")


def test_a_finding_that_stops(world: World) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as app:
        port = app.getsockname()[1]
        _ends(world, BadInput, "loopback-only:web", app=f"port: {port}")


def test_a_control_plane_s_port_that_is_closed(world: World) -> None:
    plane = f"127.0.0.1:{world.closed}"
    _ends(world, Unreachable, f"{plane} for xDS and the host stream: refused", plane=plane)


def test_a_token_that_the_control_plane_refuses(world: World) -> None:
    prefix, name, secret, pin = world.server.token().split(".")
    words = "cannot enrol: this control plane knows no such token"
    _ends(world, Refused, words, token=".".join((prefix, name, "0" * len(secret), pin)))


def test_a_token_that_is_not_there_and_no_identity(world: World) -> None:
    assert not enrolling.is_joined(world.layout)


class Runs:
    """An agent that answers with the file and text it has taken in, and a `run --all` to start."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout = world.layout
        self.running: dict[str, object] = {}
        self.started: list[Sequence[str]] = []
        self.starts = "import time; time.sleep(60)"
        self.children = ExitStack()
        self.edited = False
        self._world = world
        monkeypatch.setattr(control, "call", self._call)
        monkeypatch.setattr(supervisor, "start", self._start)

    def _call(self, _: str, verb: str, **__: object) -> object:
        if verb == "status":
            return {"waiting": [], "services": []}
        file = self._world.file
        text = "services: []" if self.edited else file.read_text()
        return {"file": str(file), "text": text} | self.running

    def _start(self, layout: HostLayout, options: Sequence[str]) -> "subprocess.Popen[bytes]":
        self.started.append(options)
        child = subprocess.Popen([sys.executable, "-c", self.starts, layout.capture_file])
        self.children.callback(child.wait)
        self.children.callback(child.kill)
        return child

    def process(self, *words: str) -> int:
        return self.children.enter_context(own_process(self.layout.instance, *words)).pid

    def note(self, pid: int) -> None:
        folder = Path(folders.parent_dir(self.layout))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "agent.json").write_text(json.dumps({"pid": pid}))


COMPILES = "import sys, time; open(sys.argv[1], 'w').close(); time.sleep(60)"


@pytest.fixture
def runs(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    made = Runs(world, monkeypatch)
    with made.children:
        yield made


def _join(world: World) -> enrolling.Answer:
    return world.join(f"port: {world.app}", world.server.token())


def test_a_run_all_that_has_ended_is_started_beside_what_runs(world: World, runs: Runs) -> None:
    runs.note(runs.process("run"))
    runs.starts = COMPILES
    assert _join(world)["waiting"] == []
    assert len(runs.started) == 1
    assert any("starting `run --all` again" in text for text in world.said)


def test_one_that_ends_at_once_is_told_though_an_agent_answers(world: World, runs: Runs) -> None:
    runs.note(runs.process("run"))
    runs.starts = ""
    with pytest.raises(supervisor.CannotStart, match="it ended and said"):
        _join(world)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param(["run", "--all"], "run already", id="it is kept"),
        pytest.param(None, "an agent runs already, which is not", id="another keeps it"),
    ],
)
def test_nothing_is_started_beside_what_something_keeps(
    world: World, runs: Runs, more: list[str] | None, words: str
) -> None:
    agent = runs.process("run")
    if more is not None:
        runs.note(agent)
        runs.process(*more)
    assert _join(world)["waiting"] == []
    assert runs.started == []
    assert any(words in text for text in world.said)


def test_a_file_that_is_not_the_running_agent_s_is_refused(world: World, runs: Runs) -> None:
    runs.running["file"] = "/etc/hostmesh/another.yaml"
    _ends(world, BadInput, "runs with /etc/hostmesh/another.yaml; edit that one and run")


def test_what_a_running_agent_has_not_taken_in_is_waited_for(world: World, runs: Runs) -> None:
    runs.process("run", "--all")
    runs.edited = True
    assert _join(world)["waiting"] == [
        f"{world.file} as it is now: hostmesh-agent reload takes it in"
    ]


def test_an_edited_file_is_not_compiled_beside_an_agent_that_has_not_taken_it_in(
    world: World, runs: Runs
) -> None:
    runs.note(runs.process("run"))
    runs.edited = True
    with pytest.raises(BadInput, match="undo the edit and run join again"):
        _join(world)
    assert (runs.started, world.server.authority.hosts()) == ([], [])
