import os
from pathlib import Path

import pytest

from hostmesh_agent.edges.generations import KEPT, CannotStore, GenerationFolder
from hostmesh_core.xds.store import Generation, generation_of
from hostmesh_testing.xds import cluster


def generation(sequence: int) -> Generation:
    return generation_of([cluster("a", str(sequence))], sequence=sequence)


def test_what_was_saved_last_is_loaded(tmp_path: Path) -> None:
    folder = GenerationFolder(str(tmp_path))
    assert folder.load() == (None, [])
    assert folder.confirmed_at() is None
    for sequence in (1, 2):
        folder.save(generation(sequence))
    assert GenerationFolder(str(tmp_path)).load() == (generation(2), [])
    assert folder.confirmed_at() is not None


def test_a_damaged_one_is_passed_over_with_a_sentence(tmp_path: Path) -> None:
    folder = GenerationFolder(str(tmp_path))
    for sequence in (1, 2, 3):
        folder.save(generation(sequence))
    stored = (tmp_path / "stored").resolve()
    stored.write_bytes(stored.read_bytes()[:-1])
    loaded, problems = folder.load()
    assert loaded == generation(2)
    assert len(problems) == 1
    assert problems[0].startswith("cannot use a stored generation")


def test_a_good_one_comes_before_an_unproven_one(tmp_path: Path) -> None:
    folder = GenerationFolder(str(tmp_path))
    folder.save(generation(1))
    folder.mark_good(1)
    for sequence in (2, 3):
        folder.save(generation(sequence))
    (tmp_path / "stored").resolve().write_bytes(b"")
    assert folder.load()[0] == generation(1)


def test_the_count_is_bounded_and_what_a_link_points_at_stays(tmp_path: Path) -> None:
    folder = GenerationFolder(str(tmp_path))
    folder.save(generation(1))
    folder.mark_good(1)
    for sequence in range(2, 20):
        folder.save(generation(sequence))
    kept = sorted(path.name for path in tmp_path.glob("generation-*"))
    assert len(kept) == KEPT + 1
    assert kept[0].endswith("1")


def test_falling_back_gives_the_last_good_other_one_and_makes_it_the_stored(
    tmp_path: Path,
) -> None:
    folder = GenerationFolder(str(tmp_path))
    for sequence in (1, 2, 3):
        folder.save(generation(sequence))
        if sequence < 3:
            folder.mark_good(sequence)
    assert folder.fall_back(3) == generation(2)
    assert folder.load()[0] == generation(2)
    assert folder.fall_back(2) == generation(1)
    assert folder.fall_back(1) is None


def test_a_good_one_that_crashes_later_is_good_no_more(tmp_path: Path) -> None:
    folder = GenerationFolder(str(tmp_path))
    for sequence in (1, 2):
        folder.save(generation(sequence))
        folder.mark_good(sequence)
    assert folder.fall_back(2) == generation(1)
    assert (tmp_path / "good").readlink().name.endswith("1")


def test_a_kill_at_any_point_leaves_a_whole_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop at each system call that changes the disk, in turn; the next agent loads 1 or 2."""
    seen = set()
    for stop in range(40):
        path = tmp_path / str(stop)
        path.mkdir()
        folder = GenerationFolder(str(path))
        folder.save(generation(1))
        folder.mark_good(1)
        with monkeypatch.context() as patched:
            killed = _kill_at(patched, stop)
            try:
                folder.save(generation(2))
                folder.mark_good(2)
            except Killed:
                pass
        loaded, _ = GenerationFolder(str(path)).load()
        assert loaded in (generation(1), generation(2)), f"killed at step {stop}"
        seen.add(loaded.sequence if loaded else 0)
        GenerationFolder(str(path)).save(generation(3))
        assert GenerationFolder(str(path)).load()[0] == generation(3)
        if not killed:
            break
    else:
        pytest.fail("the steps never ended")
    assert seen == {1, 2}


class Killed(BaseException):
    """The process is gone."""


def _kill_at(patched: pytest.MonkeyPatch, stop: int) -> list[str]:
    steps: list[str] = []
    killed: list[str] = []

    def wrap(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def step(*args: object, **kwargs: object) -> object:
            steps.append(name)
            if len(steps) > stop:
                killed.append(name)
                raise Killed
            return real(*args, **kwargs)

        patched.setattr(owner, name, step)

    for owner, name in (
        (Path, "replace"),
        (Path, "symlink_to"),
        (Path, "unlink"),
        (Path, "open"),
        (os, "fsync"),
    ):
        wrap(owner, name)
    return killed


def test_a_disk_that_takes_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStore, match=r"^cannot store generation 1 in "):
        GenerationFolder(str(tmp_path / "missing")).save(generation(1))
