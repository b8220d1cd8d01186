import os
from pathlib import Path

import pytest

from hostmesh_agent.edges import shared_memory
from hostmesh_agent.runner import base_id


def _claimed(tmp_path: Path) -> tuple[Path, Path]:
    memory, state = tmp_path / "shm", tmp_path / "base-id"
    memory.mkdir()
    held = base_id.claim(str(state), folder=str(memory))
    (memory / f"envoy_shared_memory_{held.number * 10}").write_text("Envoy's")
    shared_memory.remove(str(state), folder=str(memory))
    assert len(list(memory.iterdir())) == 2, "a runner has them"
    os.close(held.lock)
    return memory, state


def test_what_nobody_has_any_more_goes(tmp_path: Path) -> None:
    memory, state = _claimed(tmp_path)
    shared_memory.remove(str(state), folder=str(memory))
    assert list(memory.iterdir()) == []
    shared_memory.remove(str(state), folder=str(memory))


def test_a_number_is_claimed_anew_after_that(tmp_path: Path) -> None:
    memory, state = _claimed(tmp_path)
    shared_memory.remove(str(state), folder=str(memory))
    assert base_id.claim(str(state), folder=str(memory)).number == 0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "hot-restart").mkdir()
    (tmp_path / "shm").mkdir()
    for name in ("hostmesh_base_id_3", "envoy_shared_memory_30"):
        (tmp_path / "shm" / name).touch()
    return tmp_path / "hot-restart" / "base-id"


def _left(state: Path) -> list[str]:
    folder = state.parent.parent / "shm"
    shared_memory.remove(str(state), folder=str(folder))
    return sorted(path.name for path in folder.iterdir())


def test_lock_and_memory_go(state: Path) -> None:
    state.write_text("3\n")
    assert _left(state) == []


def test_a_lock_without_memory_goes_too(state: Path) -> None:
    state.write_text("3\n")
    (state.parent.parent / "shm" / "envoy_shared_memory_30").unlink()
    assert _left(state) == []


@pytest.mark.parametrize("text", ["", "../3", "7", "x"])
def test_what_names_no_number_of_ours_removes_nothing(state: Path, text: str) -> None:
    state.write_text(text)
    assert len(_left(state)) == 2


def test_a_pipe_in_its_place_keeps_nobody_waiting(state: Path) -> None:
    os.mkfifo(state)
    assert len(_left(state)) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_the_number_of_another_user_s_envoy_removes_nothing(state: Path) -> None:
    """Envoy's user writes the number, and anybody may make a file of that lock's name."""
    state.write_text("3\n")
    os.chown(state.parent, 64011, 64011)
    os.chown(state.parent.parent / "shm" / "hostmesh_base_id_3", 64011, 64011)
    assert _left(state) == ["envoy_shared_memory_30"]
