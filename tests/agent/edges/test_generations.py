import os
from pathlib import Path

import pytest

from hostmesh_agent.edges import generations
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


def save_bases(path: Path, *sequences: int) -> None:
    """Save as so many agents one after the other do: each begins a base of its own."""
    for sequence in sequences:
        GenerationFolder(str(path)).save(generation(sequence))


def test_a_damaged_one_is_passed_over_with_a_sentence(tmp_path: Path) -> None:
    save_bases(tmp_path, 1, 2, 3)
    stored = (tmp_path / "stored").resolve()
    stored.write_bytes(stored.read_bytes()[:-1])
    loaded, problems = GenerationFolder(str(tmp_path)).load()
    assert loaded == generation(2)
    assert len(problems) == 1
    assert problems[0].startswith("cannot use a stored generation")


def test_a_good_one_comes_before_an_unproven_one(tmp_path: Path) -> None:
    save_bases(tmp_path, 1)
    GenerationFolder(str(tmp_path)).mark_good(generation(1))
    save_bases(tmp_path, 2, 3)
    (tmp_path / "stored").resolve().write_bytes(b"")
    assert GenerationFolder(str(tmp_path)).load()[0] == generation(1)


def test_the_count_is_bounded_and_what_a_link_points_at_stays(tmp_path: Path) -> None:
    save_bases(tmp_path, 1)
    GenerationFolder(str(tmp_path)).mark_good(generation(1))
    save_bases(tmp_path, *range(2, 20))
    kept = sorted(path.name for path in tmp_path.glob("generation-*"))
    assert len(kept) == KEPT + 1
    assert kept[0].endswith("1")


def test_a_change_is_appended_and_a_full_journal_gives_way_to_a_new_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "JOURNAL_BYTES", 2000)
    folder = GenerationFolder(str(tmp_path))
    bases = set()
    for sequence in range(1, 40):
        folder.save(generation(sequence))
        bases.add((tmp_path / "stored").readlink().name)
        assert GenerationFolder(str(tmp_path)).load() == (generation(sequence), [])
    assert 2 < len(bases) < 20
    assert len(list(tmp_path.glob("*.journal"))) <= 1


def test_a_step_that_a_kill_cut_short_was_never_stored(tmp_path: Path) -> None:
    folder = GenerationFolder(str(tmp_path))
    for sequence in (1, 2, 3):
        folder.save(generation(sequence))
    (journal,) = tmp_path.glob("*.journal")
    whole = journal.read_bytes()
    found = set()
    for length in range(len(whole) + 1):
        journal.write_bytes(whole[:length])
        loaded, problems = GenerationFolder(str(tmp_path)).load()
        assert problems == []
        assert loaded is not None
        assert loaded == generation(loaded.sequence)
        found.add(loaded.sequence)
    assert found == {1, 2, 3}


def test_after_a_failed_write_nothing_is_appended_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = GenerationFolder(str(tmp_path))
    for sequence in (1, 2):
        folder.save(generation(sequence))

    def full(_: int) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(CannotStore, match="no space left"):
            folder.save(generation(3))
    folder.save(generation(4))
    assert GenerationFolder(str(tmp_path)).load() == (generation(4), [])


def test_falling_back_to_the_base_forgets_what_came_after_it(tmp_path: Path) -> None:
    folder = GenerationFolder(str(tmp_path))
    folder.save(generation(1))
    folder.mark_good(generation(1))
    folder.save(generation(2))
    assert folder.fall_back(2) == generation(1)
    assert GenerationFolder(str(tmp_path)).load() == (generation(1), [])
    folder.save(generation(3))
    assert GenerationFolder(str(tmp_path)).load() == (generation(3), [])


def test_falling_back_gives_the_last_good_other_one_and_makes_it_the_stored(
    tmp_path: Path,
) -> None:
    folder = GenerationFolder(str(tmp_path))
    for sequence in (1, 2, 3):
        folder.save(generation(sequence))
        if sequence < 3:
            folder.mark_good(generation(sequence))
    assert folder.fall_back(3) == generation(2)
    assert folder.load()[0] == generation(2)
    assert folder.fall_back(2) == generation(1)
    assert folder.fall_back(1) is None


def test_a_good_one_that_crashes_later_is_good_no_more(tmp_path: Path) -> None:
    folder = GenerationFolder(str(tmp_path))
    for sequence in (1, 2):
        folder.save(generation(sequence))
        folder.mark_good(generation(sequence))
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
        folder.mark_good(generation(1))
        with monkeypatch.context() as patched:
            killed = _kill_at(patched, stop)
            try:
                folder.save(generation(2))
                folder.mark_good(generation(2))
            except Killed:
                pass
        loaded, _ = GenerationFolder(str(path)).load()
        assert loaded in (generation(1), generation(2)), f"killed at step {stop}"
        seen.add(loaded.sequence if loaded else 0)
        GenerationFolder(str(path)).save(generation(3))
        assert GenerationFolder(str(path)).load() == (generation(3), [])
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


def test_a_damaged_good_one_is_not_fallen_back_to(tmp_path: Path) -> None:
    for sequence in (1, 2):
        save_bases(tmp_path, sequence)
        GenerationFolder(str(tmp_path)).mark_good(generation(sequence))
    save_bases(tmp_path, 3)
    (tmp_path / "good").resolve().write_bytes(b"")
    folder = GenerationFolder(str(tmp_path))
    assert folder.fall_back(3) == generation(1)


def test_a_disk_that_takes_no_mark_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStore, match=r"^cannot mark generation 1 as good"):
        GenerationFolder(str(tmp_path / "missing")).mark_good(generation(1))


def test_a_confirmation_makes_the_stored_one_young_again(tmp_path: Path) -> None:
    folder = GenerationFolder(str(tmp_path))
    folder.save(generation(1))
    os.utime(tmp_path / "stored", (1000, 1000))
    assert folder.confirmed_at() == 1000
    folder.confirm()
    assert (folder.confirmed_at() or 0) > 1000


def test_a_disk_that_takes_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStore, match=r"^cannot store generation 1 in "):
        GenerationFolder(str(tmp_path / "missing")).save(generation(1))
