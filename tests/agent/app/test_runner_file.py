import stat
from pathlib import Path

import pytest

from hostmesh_agent.app import runner_file
from hostmesh_agent.app.configuration import read_config
from hostmesh_agent.edges import envoy_binary
from hostmesh_agent.edges.users import User
from hostmesh_core.errors import BadInput
from hostmesh_core.runner_file import RunnerSettings
from hostmesh_testing.rooted_layout import RootedLayout, rooted_layout

AGENT = User(64001, 64001)
CONFIG = "control_planes: [cp1]\nenvoy: {drain_seconds: 3, stop_seconds: 4}\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(envoy_binary, "find", lambda configured: configured or "/usr/bin/envoy")
    monkeypatch.setattr(envoy_binary, "check_version", lambda _binary: "1.40.0")
    path = tmp_path / "agent.yaml"
    path.write_text(CONFIG)
    return path


def compiled(config: Path, layout: RootedLayout) -> RunnerSettings:
    path = runner_file.compile_file(str(config), layout, agent=AGENT)
    assert path == layout.runner_file
    return RunnerSettings.decode(Path(path).read_text(), file=path)


def test_writes_what_the_runner_may_do(config: Path) -> None:
    with rooted_layout() as layout:
        settings = compiled(config, layout)
        assert settings.binary == "/usr/bin/envoy"
        assert settings.client_uids == (64001,)
        assert settings.socket == layout.runner_socket
        assert settings.bootstrap_dir == layout.envoy_dir
        assert settings.state_dir == layout.hot_restart_dir
        assert settings.own_ports == (15021, 15090)
        assert settings.held_ports == (15001, 15006, 15021, 15090)
        assert (settings.drain_seconds, settings.stop_drain_seconds) == (3, 3.0)
        assert stat.S_IMODE(Path(layout.runner_file).stat().st_mode) == 0o644


def test_a_stop_waits_no_longer_than_whoever_waits_for_it(config: Path) -> None:
    config.write_text("control_planes: [cp1]\n")
    with rooted_layout() as layout:
        settings = compiled(config, layout)
    assert (settings.drain_seconds, settings.stop_drain_seconds) == (45, 10.0)


def test_bad_input_changes_nothing(config: Path) -> None:
    with rooted_layout() as layout:
        compiled(config, layout)
        before = Path(layout.runner_file).read_text()
        config.write_text("control_plane: [cp1]\n")
        with pytest.raises(BadInput, match='did you mean "control_planes"'):
            compiled(config, layout)
        assert Path(layout.runner_file).read_text() == before


def test_a_file_of_another_instance_is_refused(config: Path) -> None:
    ports = "{outbound: 1, inbound: 2, status: 3, readiness: 4, prometheus: 5}"
    config.write_text(f"{CONFIG}instance: edge\nports: {ports}\n")
    with rooted_layout() as layout, pytest.raises(BadInput, match="call it with --instance edge"):
        compiled(config, layout)


def test_without_root_a_configuration_with_capture_is_refused(config: Path) -> None:
    with rooted_layout() as layout:
        with pytest.raises(BadInput, match="capture needs root"):
            runner_file.compile_file(str(config), layout, agent=AGENT, explicit=True)
        config.write_text(f"{CONFIG}capture: {{enabled: false}}\n")
        runner_file.compile_file(str(config), layout, agent=AGENT, explicit=True)


def test_a_folder_that_is_not_there_is_a_sentence(config: Path) -> None:
    layout = RootedLayout(root="/nonexistent")
    with pytest.raises(runner_file.CannotWrite, match=r"^cannot write .*run --all$"):
        compiled(config, layout)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "it is not there; three lines suffice", id="not there"),
        pytest.param(b"\xff\xfe", "not UTF-8 text", id="not text"),
    ],
)
def test_a_file_that_cannot_be_read_is_bad_input(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    path = tmp_path / "agent.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=f"^cannot read {path}: {words}"):
        read_config(str(path))
