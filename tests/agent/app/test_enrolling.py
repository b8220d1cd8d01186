"""`join --enrol-only` against a real enrolment port: under the lock, and again."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostmesh_agent import cli_join
from hostmesh_agent.app import enrolling, joining
from hostmesh_agent.edges import instance_lock
from hostmesh_agent.edges.identity_disk import IdentityDisk
from hostmesh_core.errors import BadInput, Refused
from hostmesh_testing.enrolment import Server, enrolment_server
from hostmesh_testing.rooted_layout import RootedLayout

pytestmark = pytest.mark.process
USERS = joining.Users(agent="64001", envoy="64002")


class World:
    """A control plane's enrolment port, and a host."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.server = server
        self.layout = RootedLayout("enrolling-test", root=str(folder / "host"))
        self.said: list[str] = []
        self.file = folder / "agent.yaml"
        self.file.write_text(
            "instance: enrolling-test\n"
            "ports: {outbound: 1, inbound: 2, status: 3, readiness: 4, prometheus: 5}\n"
            f"control_planes: ['127.0.0.1:9']\nenrolment: '{server.agent_config.enrolment}'\n"
            "capture: {enabled: false}\n"
        )

    def join(
        self, token: str | None, users: joining.Users = USERS, say: Callable[[str], None] = print
    ) -> dict[str, object]:
        return joining.join(str(self.file), self.layout, token, as_users=users, say=say)

    def hosts(self) -> int:
        return len(self.server.authority.hosts())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    # The agent's user has to reach it, and a test's own folder is closed to others.
    folder = Path(tempfile.mkdtemp(prefix="hm-"))
    folder.chmod(0o755)
    try:
        with enrolment_server(tmp_path / "cp") as server:
            yield World(folder, server)
    finally:
        shutil.rmtree(folder)


def test_beside_another_join_nothing_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_lock, "WAIT_SECONDS", 0.3)
    Path(world.layout.state_dir).mkdir(parents=True)
    said: list[str] = []
    with (
        instance_lock.held(world.layout, say=print),
        pytest.raises(Refused, match="another join or leave of this instance is under way"),
    ):
        world.join(world.server.token(), say=said.append)
    assert world.hosts() == 0
    assert said == ["waiting for another join or leave of this instance to end"]


def test_run_again_it_goes_on_without_the_token(world: World) -> None:
    first = world.join(world.server.token())
    again = world.join(None)
    assert again == {**first, "clock_seconds": None}
    assert world.hosts() == 1


def test_without_a_token_nobody_joins(world: World) -> None:
    with pytest.raises(BadInput, match="the token's file is not there, and this host has not"):
        world.join(None)
    assert not Path(world.layout.root).exists()


def test_a_token_that_is_refused_leaves_nothing(world: World) -> None:
    prefix, name, secret, pin = world.server.token().split(".")
    with pytest.raises(Refused, match="cannot enrol: this control plane knows no such token"):
        world.join(".".join((prefix, name, "0" * len(secret), pin)))
    assert not Path(world.layout.root).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user is one user throughout")
def test_one_user_for_both_is_refused_while_the_token_is_unused(world: World) -> None:
    world.file.write_text(world.file.read_text().replace("capture: {enabled: false}\n", ""))
    with pytest.raises(BadInput, match="cannot run agent and Envoy both as uid 64001"):
        world.join(world.server.token(), joining.Users(agent="64001", envoy="64001"))
    assert world.hosts() == 0


def test_the_command_takes_a_removed_token_file_for_a_join_that_is_done(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A unit runs it before each start."""
    monkeypatch.setattr(cli_join, "HostLayout", lambda _: world.layout)
    token = world.file.parent / "token"
    token.write_text(world.server.token())
    words = ["--enrol-only", "--token-file", str(token), "--config", str(world.file)]
    words += ["--instance", world.layout.instance]
    words += ["--agent-user", USERS.agent, "--envoy-user", USERS.envoy]
    for _ in range(2):
        cli_join.join.main(words, standalone_mode=False)
        assert "joined" in capsys.readouterr().out
        assert not token.exists()
    assert world.hosts() == 1
    stored = IdentityDisk(Path(world.layout.identity_dir)).load()
    assert stored is not None
    assert enrolling.is_joined(world.layout)
