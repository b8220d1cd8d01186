"""What ends a `join` before it has changed anything. What it does when nothing ends it: the lab."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hostmesh_agent.app import joining, journey
from hostmesh_core.errors import BadInput, HostmeshError, Refused, Unreachable
from hostmesh_testing.enrolment import Server, enrolment_server
from hostmesh_testing.rooted_layout import RootedLayout, free_ports

pytestmark = pytest.mark.process

USERS = joining.Users(agent="64001", envoy="64002")


class World:
    """A control plane that enrols, an xDS port that takes connections, and one app."""

    def __init__(self, folder: Path, server: Server, planes: socket.socket) -> None:
        self.server = server
        self.layout = RootedLayout("journey-test", root=str(folder / "host"))
        self.file = folder / "agent.yaml"
        self.plane = f"127.0.0.1:{planes.getsockname()[1]}"
        self.enrolment = str(server.agent_config.enrolment)
        # At once, so that no two of them are the same.
        *self.own, self.mesh_port, self.app, self.closed = free_ports(8)

    def join(self, app: str, token: str, *accept: str, plane: str = "") -> None:
        names = ("outbound", "inbound", "status", "readiness", "prometheus")
        own = dict(zip(names, self.own, strict=True))
        self.file.write_text(
            f"instance: journey-test\ncontrol_planes: ['{plane or self.plane}']\n"
            f"enrolment: '{self.enrolment}'\n"
            f"services: [{{name: web, mesh_port: {self.mesh_port}, {app}}}]\n"
            f"capture: {{enabled: false}}\nports: {own}\n"
        )
        order = journey.Order(str(self.file), self.layout, USERS, accept)
        journey.join(order, token, lambda _: None)

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
    _ends(world, Refused, "cannot", token=".".join((prefix, name, "0" * len(secret), pin)))


def test_a_token_that_is_not_there_and_no_identity(world: World) -> None:
    assert not journey.is_joined(world.layout)
