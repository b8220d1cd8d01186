import os
from pathlib import Path

import pytest

from hostmesh_agent.edges import callers_file as file


def test_it_is_replaced_whole_and_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "callers.json"
    (tmp_path / ".callers.json.new").write_bytes(b"left by a kill")
    before = os.umask(0)
    try:
        file.write(str(path), b"1")
        file.write(str(path), b"2")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert file.read(str(path)) == b"2"
    assert [entry.name for entry in tmp_path.iterdir()] == ["callers.json"]


def test_nothing_there_is_nothing_kept(tmp_path: Path) -> None:
    assert file.read(str(tmp_path / "callers.json")) is None


def test_a_disk_that_takes_nothing_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(file.CannotKeep, match=r"^cannot keep the callers in .*: No such file"):
        file.write(str(tmp_path / "no" / "callers.json"), b"")
