import os
from pathlib import Path

import pytest

from hostmesh_agent.edges import memory


def test_this_process_has_some_and_some_is_left() -> None:
    assert 1 << 20 < memory.resident_bytes(os.getpid()) < 4 << 30
    assert 0 < memory.available_bytes(os.getpid()) < 2**62


def test_an_ended_process_has_none() -> None:
    assert memory.resident_bytes(2**22 + 1) == 0


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        pytest.param("3000\n", 2000, id="a limit"),
        pytest.param("500\n", 0, id="a limit that is passed"),
        pytest.param("max\n", -1, id="no limit"),
        pytest.param(None, -1, id="no such group"),
    ],
)
def test_what_a_group_leaves(tmp_path: Path, limit: str | None, left: int) -> None:
    (tmp_path / "memory.current").write_text("1000\n")
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
    assert memory._left(tmp_path) == left
