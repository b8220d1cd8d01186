import os
from pathlib import Path

import pytest

from hostmesh_agent.runner import base_id
from hostmesh_agent.runner.base_id import BaseId
from hostmesh_core.errors import Refused


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    folder = tmp_path / "shm"
    folder.mkdir()
    return folder


def claim(memory: Path, name: str = "a") -> BaseId:
    return base_id.claim(str(memory.parent / name), folder=str(memory))


def test_takes_the_first_number_and_keeps_it(memory: Path) -> None:
    first = claim(memory)
    assert first.number == 0
    os.close(first.lock)  # the runner ends; Envoy's shared memory stays behind
    (memory / "envoy_shared_memory_0").touch()
    assert claim(memory).number == 0


def test_two_runners_never_have_one_number(memory: Path) -> None:
    assert [claim(memory, name).number for name in "abc"] == [0, 1, 2]


def test_passes_over_a_strangers_envoy(memory: Path) -> None:
    (memory / "envoy_shared_memory_0").touch()
    (memory / "envoy_shared_memory_10").symlink_to("/nonexistent")
    assert claim(memory).number == 2


def test_what_a_dead_runner_left_is_free_again(memory: Path) -> None:
    os.close(claim(memory, "a").lock)
    (memory / "envoy_shared_memory_0").touch()
    assert claim(memory, "b").number == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_what_another_users_runner_left_is_passed_over(memory: Path) -> None:
    os.close(claim(memory, "a").lock)
    (memory / "envoy_shared_memory_0").touch()
    os.chown(memory / "envoy_shared_memory_0", 64002, 64002)
    assert claim(memory, "b").number == 1


def test_an_orderly_end_leaves_no_shared_memory(memory: Path) -> None:
    mine = claim(memory)
    (memory / "envoy_shared_memory_0").touch()
    base_id.release(mine, folder=str(memory))
    assert [path.name for path in memory.iterdir()] == ["hostmesh_base_id_0"]


def test_a_number_that_another_has_by_now_is_given_up(memory: Path) -> None:
    os.close(claim(memory, "a").lock)
    assert claim(memory, "b").number == 0
    assert claim(memory, "a").number == 1
    assert (memory.parent / "a").read_text() == "1\n"


@pytest.mark.parametrize("kept", ["", "x", "-1", "99999999"])
def test_a_damaged_file_is_no_number(memory: Path, kept: str) -> None:
    (memory.parent / "a").write_text(kept)
    assert claim(memory).number == 0


def test_a_link_in_the_place_of_a_lock_is_passed_over(memory: Path) -> None:
    victim = memory.parent / "victim"
    (memory / "hostmesh_base_id_0").symlink_to(victim)
    assert claim(memory).number == 1
    assert not victim.exists()


def test_none_free_is_a_sentence(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_id, "LIMIT", 2)
    claim(memory, "a")
    claim(memory, "b")
    with pytest.raises(Refused, match=r"^cannot find a free base-id for Envoy below 2"):
        claim(memory, "c")
