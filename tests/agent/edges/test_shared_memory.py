import os
from pathlib import Path

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
