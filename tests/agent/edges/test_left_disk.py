from pathlib import Path

import pytest

from hostmesh_agent.edges import left_disk
from hostmesh_agent.edges.redirect_files import CannotWrite
from hostmesh_core.errors import BadInput


def test_it_is_there_until_nothing_has_left(tmp_path: Path) -> None:
    path = str(tmp_path / "left.json")
    assert left_disk.read(path, 100) is None
    left_disk.write(path, b"x" * 200)
    assert left_disk.read(path, 100) == b"x" * 101, "too long is seen as too long"
    assert Path(path).stat().st_mode & 0o777 == 0o644, "the agent reads what root wrote"
    for _ in range(2):
        left_disk.write(path, None)
    assert left_disk.read(path, 100) is None


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read"):
        left_disk.read(str(tmp_path), 100)
    with pytest.raises(CannotWrite, match="cannot write"):
        left_disk.write(str(tmp_path / "away" / "left.json"), b"x")
