"""Wrong files, read by the real commands: exit status 2, a clear sentence, nothing changed."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hostmesh_core.host_layout import HostLayout
from hostmesh_testing import command_line
from hostmesh_testing.bad_files import (
    GOOD_SPEC,
    INSTANCE,
    OF_THE_INSTANCE,
    SYNTAX,
    UNKNOWN_KEY,
    BadFile,
    Read,
    Wrong,
    entry,
)
from hostmesh_testing.bad_meanings import DANGLING, SEMANTICS, TYPE
from hostmesh_testing.command_line import Ended

pytestmark = pytest.mark.process

CASES = [*SYNTAX, *UNKNOWN_KEY, *TYPE, *DANGLING, *SEMANTICS]

USERS = ("--agent-user", str(os.geteuid()), "--envoy-user", "65534")
TOKEN = ".".join(("hm1", "0" * 16, "1" * 64, "2" * 64))
MODULES = {
    "hostmesh-agent": "hostmesh_agent.main",
    "hostmesh-controlplane": "hostmesh_controlplane.cli",
}


def _argv(case: BadFile, file: Path) -> list[str]:
    match case.read:
        case Read.AGENT_CHECK:
            return ["hostmesh-agent", "check", "--config", str(file)]
        case Read.CAPTURE:
            compile_ = ["hostmesh-agent", "capture", "compile", "--instance", INSTANCE]
            return [*compile_, *USERS, "--config", str(file)]
        case Read.JOIN:
            join = ["hostmesh-agent", "join", "--instance", INSTANCE, *USERS]
            return [*join, "--config", str(file), "--token-file", str(file.parent / "token")]
        case Read.PLANE_CHECK | Read.CATALOG:
            return ["hostmesh-controlplane", "check", "--config", str(_plane_file(case, file))]
        case Read.PLANE_RUN:
            return ["hostmesh-controlplane", "run", "--config", str(file)]


def _plane_file(case: BadFile, file: Path) -> Path:
    """Give the controlplane.yaml: the case itself, or one that names the case's document."""
    if case.read is not Read.CATALOG:
        return file
    naming = file.parent / "controlplane.yaml"
    naming.write_text(f"sources: [{{name: files, kind: static, path: {file}}}]\n")
    return naming


def _state(folder: Path) -> object:
    """Give all that a command might change: the files here, and the instance's own folders."""
    layout = HostLayout(INSTANCE)
    return (
        {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()},
        Path(layout.state_dir).exists(),
        Path(layout.run_dir).exists(),
    )


def _holds(case: BadFile, file: Path, ended: Ended) -> None:
    for words in case.said:
        assert words.replace("FILE", str(file)) in ended.err, ended.err
    assert ended.status == 2
    assert ended.err.startswith(("hostmesh-agent: cannot ", "hostmesh-controlplane: cannot "))
    assert ended.out == ""
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("case", [pytest.param(case, id=case.sentence) for case in CASES])
def test_it_is_refused_with_a_clear_sentence(case: BadFile, tmp_path: Path) -> None:
    file = tmp_path / "written.yaml"
    file.write_text(case.text)
    (tmp_path / "token").write_text(TOKEN)
    argv = _argv(case, file)
    before = _state(tmp_path)
    _holds(case, file, command_line.run(*argv))
    assert _state(tmp_path) == before


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(next(c for c in CASES if c.read is read), id=f"{read}, as a process")
        for read in Read
    ],
)
def test_a_real_process_says_the_same(case: BadFile, tmp_path: Path) -> None:
    file = tmp_path / "written.yaml"
    file.write_text(case.text)
    (tmp_path / "token").write_text(TOKEN)
    program, *rest = _argv(case, file)
    done = subprocess.run(
        [sys.executable, "-m", MODULES[program], *rest], capture_output=True, text=True, timeout=60
    )
    _holds(case, file, Ended(done.returncode, done.stdout, done.stderr))


def test_every_problem_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(
        "control_plains: [cp1]\nservices:\n  - {name: Web, port: 70000}\n  - {prot: 1}\n"
    )
    lines = command_line.run("hostmesh-agent", "check", "--config", str(file)).err.splitlines()
    told = [line.rpartition(f"{file}:")[2].partition(":")[0] for line in lines]
    assert told == sorted(told)
    assert set(told) == {"1", "3", "4"}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param(
            ["hostmesh-agent", "check", "--config", "/nowhere/agent.yaml"],
            "cannot read /nowhere/agent.yaml: it is not there; three lines suffice",
            id="an agent.yaml that is not there",
        ),
        pytest.param(
            ["hostmesh-controlplane", "run", "--config", "/nowhere/controlplane.yaml"],
            "cannot read /nowhere/controlplane.yaml: No such file or directory",
            id="a controlplane.yaml that is not there",
        ),
        pytest.param(
            ["hostmesh-agent", "join", "--token-file", "/nowhere/token", "--instance", INSTANCE],
            "cannot read token file /nowhere/token: No such file or directory",
            id="a token file that is not there",
        ),
        pytest.param(
            ["hostmesh-agent", "capture", "compile", "--instance", "../../tmp"],
            "cannot use --instance '../../tmp': expected lower-case letters, digits and -",
            id="an instance that is a path",
        ),
        pytest.param(
            ["hostmesh-agent", "join", "--frobnicate"],
            "No such option '--frobnicate'",
            id="an option that does not exist",
        ),
        pytest.param(
            ["hostmesh-controlplane", "chekc"],
            "No such command 'chekc'",
            id="a command that does not exist",
        ),
    ],
)
def test_a_command_line_that_leads_nowhere(argv: list[str], said: str) -> None:
    ended = command_line.run(*argv)
    assert said in ended.err
    assert (ended.status, ended.out) == (2, "")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "token", "said"),
    [
        pytest.param(
            [*USERS], "hm1.not-a-token\n", "cannot read the token: expected one line", id="garbage"
        ),
        pytest.param(
            [*USERS], "hm9." + TOKEN[4:], "cannot read the token: it is of version hm9", id="newer"
        ),
        pytest.param(
            ["--agent-user", "nobody-like-this", "--envoy-user", "65534"],
            TOKEN,
            "cannot find user nobody-like-this: make it with `useradd",
            id="for a user that does not exist",
        ),
    ],
)
def test_a_join_that_cannot_begin_makes_nothing_and_keeps_the_token(
    arguments: list[str], token: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(token)
    (tmp_path / "agent.yaml").write_text("control_planes: [127.0.0.1:9]\n" + OF_THE_INSTANCE)
    before = _state(tmp_path)
    ended = command_line.run(
        *("hostmesh-agent", "join", "--config", str(tmp_path / "agent.yaml")),
        *("--instance", INSTANCE, "--token-file", str(tmp_path / "token")),
        *arguments,
    )
    assert (ended.status, ended.out) == (2, "")
    assert said in ended.err
    assert "not-a-token" not in ended.err, "a token's text never goes to a screen"
    assert _state(tmp_path) == before


def test_what_the_cases_are_changed_from_is_good(tmp_path: Path) -> None:
    document = tmp_path / "reviews.yaml"
    document.write_text(entry(GOOD_SPEC))
    config = tmp_path / "controlplane.yaml"
    config.write_text(f"sources: [{{name: files, kind: static, path: {document}}}]\n")
    ended = command_line.run("hostmesh-controlplane", "check", "--config", str(config))
    assert (ended.status, ended.err) == (0, "")
    agent = tmp_path / "agent.yaml"
    agent.write_text("control_planes: [cp1.example.net]\nservices: [{name: web, port: 8080}]\n")
    assert command_line.run("hostmesh-agent", "check", "--config", str(agent)).status == 0


def test_there_are_at_least_eight_of_each_kind() -> None:
    counted = Counter(case.wrong for case in CASES)
    assert min(counted[wrong] for wrong in Wrong) >= 8, counted
    assert len({case.sentence for case in CASES}) == len(CASES)
