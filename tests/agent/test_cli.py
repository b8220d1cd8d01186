"""What `hostmesh-agent` says to wrong input: a sentence, the right status, no traceback."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from hostmesh_agent import (
    cli,
    cli_ask,
    cli_capture,
    cli_change,
    cli_join,
    cli_leave,
    cli_options,
)
from hostmesh_agent.app import reloading
from hostmesh_agent.edges.as_user import run_as
from hostmesh_agent.edges.users import User
from hostmesh_core.errors import BadInput
from hostmesh_testing.rooted_layout import RootedLayout


@pytest.fixture
def layout(monkeypatch: pytest.MonkeyPatch) -> Iterator[RootedLayout]:
    with tempfile.TemporaryDirectory(prefix="hm-") as root:
        Path(root).chmod(0o755)
        layout = RootedLayout(root=root)
        for module in (cli_ask, cli_capture, cli_change, cli_join, cli_leave):
            monkeypatch.setattr(module, "HostLayout", lambda _: layout)
        Path(layout.control_dir).mkdir(parents=True)
        yield layout


def _run(*words: str) -> Result:
    result = CliRunner().invoke(cli.main, list(words))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


TOKEN = ".".join(("hm1", "0" * 16, "1" * 64, "2" * 64))
CONFIG = "control_planes: [cp1]\nservices:\n- {name: web, port: 8080}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["reload"],
        ["leave", "--service", "web"],
        ["drain"],
        ["renew"],
        ["restart-envoy"],
        ["resume", "web"],
    ],
    ids=" ".join,
)
def test_without_an_agent_each_verb_says_so(layout: RootedLayout, words: list[str]) -> None:
    result = _run(*words)
    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"hostmesh-agent: cannot reach a running agent at {layout.run_dir}"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody who may not")
@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["reload"],
        ["resume", "web"],
        ["leave"],
        ["leave", "--service", "web"],
        ["drain"],
        ["join", "--token-file", "TOKEN"],
        ["join", "--enrol-only", "--token-file", "TOKEN"],
        ["capture", "compile"],
    ],
    ids=" ".join,
)
def test_who_may_not_is_told_so(layout: RootedLayout, words: list[str]) -> None:
    """An ordinary user on root's host."""
    root = Path(layout.root)
    config, token = root / "agent.yaml", root / "secrets" / "web.token"
    config.write_text(CONFIG)
    token.parent.mkdir(mode=0o700)
    token.write_text("token")
    host = Path(layout.identity_dir) / "host"
    host.mkdir(parents=True)
    (host / "current").symlink_to("v-1")
    for folder in (layout.identity_dir, layout.control_dir):
        Path(folder).chmod(0o700)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(layout.control_socket)
    given = [str(token) if word == "TOKEN" else word for word in words]
    if words[0] not in ("status", "resume", "drain"):
        given += ["--config", str(config)]
    before = sorted(root.rglob("*"))

    def run() -> dict[str, object]:
        result = _run(*given)
        return {"status": result.exit_code, "said": result.stderr}

    answer = run_as(User(64020, 64020), run)
    assert answer["status"] in (1, 2)
    assert str(answer["said"]).startswith("hostmesh-agent: cannot ")
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(b"", "control_planes", id="empty"),
        pytest.param(b"\x00\xff\xfe" * 50, "not UTF-8 text", id="binary"),
        pytest.param(b"\x00\x01", "cannot", id="control characters"),
        pytest.param(b"# x\n" * 700_000, "longer than", id="huge"),
        pytest.param(b"services: [web", "agent.yaml", id="no YAML"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "join"])
def test_a_configuration_that_is_none(
    layout: RootedLayout, verb: str, text: bytes, said: str
) -> None:
    config, token = Path(layout.root, "agent.yaml"), Path(layout.root, "web.token")
    config.write_bytes(text)
    token.write_text("hm1.token")
    more = ["--token-file", str(token)] if verb == "join" else []
    result = _run(verb, "--config", str(config), *more)
    assert result.exit_code == 2
    assert result.stderr.startswith("hostmesh-agent: cannot ")
    assert said in result.stderr
    assert token.exists()
    assert not Path(layout.state_dir).exists()


def test_a_folder_as_the_token_s_file(layout: RootedLayout) -> None:
    config = Path(layout.root, "agent.yaml")
    config.write_text(CONFIG)
    result = _run("join", "--config", str(config), "--token-file", layout.root)
    assert (result.exit_code, result.stderr) == (
        2,
        f"hostmesh-agent: cannot read token file {layout.root}: Is a directory\n",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs everything as itself")
@pytest.mark.parametrize(
    ("agent", "envoy", "said"),
    [
        pytest.param("0", "64011", "cannot run as root throughout", id="root"),
        pytest.param("64010", "64010", "cannot run agent and Envoy both", id="one for both"),
    ],
)
def test_users_that_would_not_do_are_refused_before_the_token_is_used(
    layout: RootedLayout, agent: str, envoy: str, said: str
) -> None:
    config, token = Path(layout.root, "agent.yaml"), Path(layout.root, "web.token")
    config.write_text(CONFIG)
    token.write_text(TOKEN)
    users = ["--agent-user", agent, "--envoy-user", envoy]
    result = _run("join", "--config", str(config), "--token-file", str(token), *users)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert token.exists()
    assert not Path(layout.state_dir).exists()


def test_another_s_words_do_not_command_the_terminal() -> None:
    @click.command(cls=cli_options.Group, invoke_without_command=True)
    def shows() -> None:
        cli_options.echo("two\nlines\x1b[2J")
        raise BadInput("cannot \x1b]0;go\x07 on")

    result = CliRunner().invoke(shows, [])
    assert (result.stdout, result.stderr) == (
        "two\nlines?[2J\n",
        "hostmesh-agent: cannot ?]0;go? on\n",
    )


@pytest.mark.parametrize("words", [["status"], ["reload"], ["drain"]], ids=" ".join)
def test_commands_to_paste_are_about_the_same_instance(
    layout: RootedLayout,  # noqa: ARG001
    words: list[str],
) -> None:
    """Pasted without it, they would be done to the default instance."""
    assert "with: hostmesh-agent run --all --instance gw" in _run(*words, "--instance", "gw").stderr
    assert "--instance" not in _run(*words).stderr


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        pytest.param(
            {"complete": True, "released": True}, 0, "out of every peer's endpoints\n", id="done"
        ),
        pytest.param(
            {"complete": False, "released": True},
            1,
            "deregistered; not every peer knows\n",
            id="peers that have not said so",
        ),
        pytest.param(
            {"complete": True, "released": False},
            1,
            "nobody says that the ports are given back: hostmesh-agent redirect status\n",
            id="ports that may be led into Envoy still",
        ),
    ],
)
def test_a_drain_that_is_waited_for_is_status_1(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, bool], status: int, said: str
) -> None:
    monkeypatch.setattr(cli_ask, "_call", lambda *_, **__: answer)
    result = _run("drain", "--release")
    assert (result.exit_code, result.output) == (status, said)


@pytest.mark.parametrize(("complete", "status"), [(True, 0), (False, 1)])
@pytest.mark.parametrize("words", [["reload"], ["resume", "web"], ["leave", "--service", "web"]])
def test_a_change_that_not_every_peer_knows_is_status_1(
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    complete: bool,  # noqa: FBT001
    status: int,
) -> None:
    came_of_it = reloading.Reloaded((), (), (), (), complete, ())
    for verb in ("reload", "resume_service", "leave_service"):
        monkeypatch.setattr(reloading, verb, lambda *_: came_of_it)
    result = _run(*words, "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)["every_peer_applied"]) == (status, complete)


def test_a_check_answers_in_json(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text(CONFIG)
    result = _run("check", "--config", str(config), "-o", "json")
    assert json.loads(result.stdout) == {"file": str(config), "ok": True, "services": 1}


def test_a_check_refuses_what_join_refuses(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text(CONFIG)
    result = _run("check", "--config", str(config), "--instance", "gw")
    assert result.exit_code == 2
    assert "for instance 'gw': it says `instance: default`" in result.stderr


LOADED_BY = """
import sys
import click
from hostmesh_agent import cli

for word in sys.argv[1:]:
    assert cli.main.get_command(click.Context(cli.main), word) is not None
print("\\n".join(sys.modules))
"""
LARGE = {"cryptography", "envoy", "google.protobuf", "grpc", "yaml"}
ASKING = ["status", "drain", "restart-envoy", "renew"]


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "large"),
    [
        pytest.param([], set(), id="no command"),
        pytest.param(ASKING, set(), id="those that ask the agent"),
        pytest.param(["reload", "resume"], {"yaml"}, id="those that read agent.yaml"),
        pytest.param(["capture", "leave"], {"yaml", "cryptography"}, id="the identity's, too"),
        pytest.param(["run"], LARGE, id="the agent itself"),
    ],
)
def test_a_command_loads_only_what_it_needs(words: list[str], large: set[str]) -> None:
    argv = [sys.executable, "-c", LOADED_BY, *words]
    loaded = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    assert LARGE.intersection(loaded) == large


def test_the_help_shows_every_command() -> None:
    _, _, listed = _run("--help").stdout.partition("Commands:\n")
    commands = listed.partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in commands] == sorted(cli.PLACES)
    assert all(len(line.split()) > 1 for line in commands), "without what it does"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        pytest.param("nonesuch", "Error: No such command 'nonesuch'.\n", id="like none"),
        pytest.param("statu", "No such command 'statu'. Did you mean 'status'?\n", id="like one"),
    ],
)
def test_an_unknown_command_is_wrong_usage(word: str, said: str) -> None:
    result = _run(word)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")
    assert said in result.stderr
