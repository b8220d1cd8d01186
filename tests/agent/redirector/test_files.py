import os
from pathlib import Path

import pytest

from hostmesh_agent.redirector import files
from hostmesh_agent.redirector.files import CannotUseFile
from hostmesh_core.capture_plan import FILE_LIMIT


def test_a_file_is_written_whole_and_read(tmp_path: Path) -> None:
    path = tmp_path / "made" / "report.json"
    files.write(str(path), b"one", mode=0o644)
    files.write(str(path), b"two", mode=0o600)
    assert files.read(str(path)) == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"]
    files.remove(str(path))
    files.remove(str(path))
    assert files.read(str(path)) is None


def test_a_link_to_somebodys_secret_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "state.json").symlink_to(tmp_path / "secret")
    with pytest.raises(CannotUseFile, match="cannot read"):
        files.read(str(tmp_path / "state.json"))


@pytest.mark.timeout(10)
def test_a_pipe_and_a_folder_do_not_keep_root_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(CannotUseFile, match="no regular file"):
            files.read(str(tmp_path / name))


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b" " * (FILE_LIMIT * 2))
    assert len(files.read(str(path)) or b"") == FILE_LIMIT + 1


def test_a_replaced_file_has_another_stamp(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert files.stamp(str(path)) == files.NOWHERE
    files.write(str(path), b"a", mode=0o600)
    before = files.stamp(str(path))
    files.write(str(path), b"b", mode=0o600)
    assert files.stamp(str(path)) != before


@pytest.mark.parametrize("compiled_at", [1, 2e9], ids=["long ago", "by a clock that was ahead"])
def test_an_operators_removal_holds_until_the_next_compile(
    tmp_path: Path, compiled_at: float
) -> None:
    off, plan = str(tmp_path / "off"), str(tmp_path / "capture.json")
    files.write(plan, b"{}", mode=0o644)
    os.utime(plan, (compiled_at, compiled_at))
    assert not files.is_switched_off(off, plan)
    files.switch_off(off, plan)
    assert files.is_switched_off(off, plan)
    files.write(plan, b"{}", mode=0o644)
    assert not files.is_switched_off(off, plan)


def test_a_mark_that_cannot_be_read_is_one(tmp_path: Path) -> None:
    off, plan = tmp_path / "off", tmp_path / "capture.json"
    plan.write_text("")
    off.mkdir()
    assert files.is_switched_off(str(off), str(plan))
