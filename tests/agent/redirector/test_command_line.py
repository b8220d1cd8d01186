import os
from dataclasses import replace
from pathlib import Path

import pytest

from hostmesh_agent.redirector import command_line
from hostmesh_agent.redirector.engine import Result
from hostmesh_agent.redirector.inputs import Inputs, Watched
from hostmesh_agent.redirector.paths import Paths
from hostmesh_agent.redirector.status import Status
from hostmesh_core.capture_plan import CapturePlan
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.redirect_files import Outcome, RedirectState, Report, Wanted
from hostmesh_testing.rooted_layout import RootedLayout

REPORT = Report(
    outcome=Outcome.APPLIED, detail="all rules are in and verified", rules=30, pid=7,
    inbound=True, outbound=True, verified_at=100.0, never_ports=(22,),
)  # fmt: skip


def _status(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        command_line.main(argv)
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.mark.parametrize("verb", [[], ["apply"], ["remove"], ["status"], ["show"], ["watch"]])
def test_each_command_explains_itself(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = _status(capsys, *verb, "--help")
    assert status == 0
    assert "usage: hostmesh-agent redirect" in out
    assert ("examples:" in out) == (verb == [])


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param([], id="no command"),
        pytest.param(["aply"], id="a typing mistake"),
        pytest.param(["apply", "--early", "--assume-ready"], id="two moments at once"),
        pytest.param(["status", "--output", "xml"], id="no such output"),
    ],
)
def test_a_wrong_command_is_status_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = _status(capsys, *argv)
    assert status == 2
    assert "usage:" in err


@pytest.mark.parametrize("verb", ["apply", "remove", "status", "show", "watch"])
def test_an_instance_is_no_path(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Root would write there."""
    status, _, err = _status(capsys, verb, "--instance", "../../../tmp/x")
    assert (status, err[:40]) == (2, "cannot use --instance '../../../tmp/x': ")


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="looks at the kernel's rules")
def test_a_removal_of_a_mistyped_instance_says_so_and_makes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, _ = _status(capsys, "remove", "--instance", "mistyped-one")
    assert (status, out) == (0, "nothing of instance mistyped-one is on this host\n")
    layout = HostLayout("mistyped-one")
    assert not Path(layout.run_dir).exists()
    assert not Path(layout.state_dir).exists()


class NothingLeft:
    """An engine whose removal succeeds."""

    def __init__(self, _: Paths) -> None:
        self.removed = False

    def remove(self) -> Result:
        return Result(changed=True)


@pytest.mark.parametrize(
    ("unwritable", "expected", "words"),
    [
        pytest.param("", 0, [], id="room"),
        pytest.param("report", 0, ["report.json"], id="no report"),
        pytest.param(
            "folder",
            3,
            ["report.json", "/off", "a `redirect watch` that runs"],
            id="nothing at all",
        ),
    ],
)
def test_a_disk_that_takes_nothing_does_not_keep_the_rules_in(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unwritable: str,
    expected: int,
    words: list[str],
) -> None:
    layout = RootedLayout(root=str(tmp_path))
    if unwritable == "report":
        Path(layout.redirector_report_file).mkdir(parents=True)
    elif unwritable == "folder":
        Path(layout.redirector_dir).parent.mkdir(parents=True, exist_ok=True)
        Path(layout.redirector_dir).touch()
    monkeypatch.setattr(command_line, "Engine", NothingLeft)
    status = command_line._remove(Paths(layout), keep_closed=False, draining=False)
    said = capsys.readouterr()
    assert (status, said.out) == (expected, "removed: no rule is installed\n")
    assert all(word in said.err for word in words)
    assert bool(said.err) is bool(words)


@pytest.mark.parametrize("verb", ["apply", "remove", "status", "watch"])
def test_what_needs_root_says_so(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    status, _, err = _status(capsys, verb)
    assert (status, err) == (1, f"cannot run redirect {verb}: it needs root\n")


@pytest.mark.parametrize(
    ("status", "good", "said"),
    [
        pytest.param(
            Status(report=REPORT, differences=(), age_seconds=2.0, now_rules=30),
            True, "watched    by pid 7, 2.0 s ago", id="all is well",
        ),
        pytest.param(
            Status(report=REPORT, differences=("route gone",), age_seconds=2.0, now_rules=30),
            False, "missing    route gone", id="something is missing",
        ),
        pytest.param(
            Status(report=REPORT, differences=(), age_seconds=99.0, now_rules=30),
            True, "nobody puts back what is lost", id="nobody watches",
        ),
        pytest.param(
            Status(
                report=replace(REPORT, outcome=Outcome.FAILED, detail="cannot run iptables"),
                differences=(), age_seconds=1.0, now_rules=0,
            ),
            False, "failed: cannot run iptables", id="a failure",
        ),
        pytest.param(
            Status(
                report=replace(REPORT, guarded=(4, 6), turned=3),
                differences=(), age_seconds=1.0, now_rules=30,
            ),
            True, "guard      in for IPv4 and IPv6; 3 connections that met", id="the guard",
        ),
        pytest.param(
            Status(report=REPORT, differences=(), age_seconds=1.0, now_rules=30),
            True, "guard      out", id="no guard",
        ),
    ],
)  # fmt: skip
def test_status_in_one_screen(status: Status, good: bool, said: str) -> None:  # noqa: FBT001
    assert status.good == good
    assert said in status.as_text()
    assert status.as_value()["good"] == good
    assert len(status.as_text().splitlines()) < 20


def test_a_file_that_becomes_bad_keeps_its_last_good_content(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    watched = Watched[RedirectState](
        str(path), lambda data, where: RedirectState.decode(data, where=where)
    )
    assert not watched.refresh()
    state = RedirectState(sequence=3, wanted=Wanted.CAPTURED)
    path.write_bytes(state.encode())
    assert watched.refresh()
    assert not watched.refresh()
    (tmp_path / "new").write_text("{")
    (tmp_path / "new").rename(path)
    assert watched.refresh()
    assert (watched.value, watched.problem[:11]) == (state, "cannot read")
    (tmp_path / "new").write_bytes(state.encode())
    (tmp_path / "new").rename(path)
    assert watched.refresh()
    assert (watched.value, watched.problem) == (state, "")


def test_inputs_of_a_host_on_which_nothing_was_written() -> None:
    inputs = Inputs(HostLayout("no-such-instance"))
    inputs.refresh()
    assert (inputs.plan, inputs.state, inputs.names, inputs.problems) == (None, None, None, ())
    assert CapturePlan(proxy_uid=1, proxy_gid=1, agent_uid=1).instance == "default"
