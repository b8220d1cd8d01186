from pathlib import Path

import pytest

from hostmesh_agent.edges import redirect_files as files
from hostmesh_core.redirect_files import NameTable, Outcome, RedirectState, Report, Wanted

STATE = RedirectState(sequence=7, wanted=Wanted.CAPTURED)


def test_a_file_is_replaced_whole_and_everybody_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    files.write(str(path), STATE.encode())
    files.write(str(path), STATE.encode())
    assert path.stat().st_mode & 0o777 == 0o644
    assert files.read_state(str(path)) == STATE
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(files.CannotWrite, match=r"cannot write .*: No such file"):
        files.write(str(tmp_path / "no" / "state.json"), b"")


def test_a_report_that_cannot_be_read_is_no_word(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert files.read_report(str(path)) is None
    path.write_text('{"version": 9}')
    assert files.read_report(str(path)) is None
    report = Report(outcome=Outcome.APPLIED, state_sequence=7)
    path.write_bytes(report.encode())
    assert files.read_report(str(path)) == report


def test_a_report_is_given_once_and_again_when_it_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    reports = files.ReportFile(str(path))
    assert reports.read_new() is None
    first = Report(outcome=Outcome.APPLIED, state_sequence=7)
    files.write(str(path), first.encode())
    assert reports.read_new() == first
    assert reports.read_new() is None
    second = Report(outcome=Outcome.REMOVED, state_sequence=8)
    files.write(str(path), second.encode())
    assert reports.read_new() == second


@pytest.mark.parametrize(
    ("state", "names", "highest"),
    [
        pytest.param(None, None, 0, id="a first start"),
        pytest.param(STATE.encode(), None, 7, id="a state"),
        pytest.param(STATE.encode(), NameTable(sequence=9).encode(), 9, id="names after it"),
        pytest.param(b"{", NameTable(sequence=9).encode(), 0, id="a bad file is written anew"),
    ],
)
def test_a_new_agent_goes_on_counting(
    tmp_path: Path, state: bytes | None, names: bytes | None, highest: int
) -> None:
    for name, content in (("state", state), ("names", names)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    assert files.last_sequences(str(tmp_path / "state"), str(tmp_path / "names")) == highest


def test_a_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    """Root writes in an ordinary user's folder too, where that one's instance is reloaded."""
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / ".left.json.new").symlink_to(victim)
    files.write(str(tmp_path / "left.json"), b"{}")
    assert victim.read_text() == "kept"
    assert (tmp_path / "left.json").read_text() == "{}"
