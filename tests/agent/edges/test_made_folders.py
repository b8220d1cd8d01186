import os
from pathlib import Path

import pytest

from hostmesh_agent.edges import folders, made_folders
from hostmesh_agent.edges.users import User
from hostmesh_testing.rooted_layout import RootedLayout

ME = User(os.geteuid(), os.getegid())


def _tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def _make(layout: RootedLayout) -> None:
    made_folders.make(layout, folders.wanted(layout, agent=ME, envoy=ME))


@pytest.fixture
def layout(tmp_path: Path) -> RootedLayout:
    return RootedLayout(root=str(tmp_path / "host"))


def test_what_was_made_goes_again(tmp_path: Path, layout: RootedLayout) -> None:
    _make(layout)
    _make(layout)
    Path(layout.identity_dir, "host").mkdir()
    Path(layout.identity_dir, "host", "key").write_text("secret")
    made_folders.remove(layout)
    assert _tree(tmp_path) == []


def test_what_was_there_before_stays(tmp_path: Path, layout: RootedLayout) -> None:
    for folder in (layout.run_dir, layout.state_dir, layout.identity_dir):
        Path(folder).mkdir(parents=True)
    before = _tree(tmp_path)
    _make(layout)
    Path(layout.identity_dir, "key").write_text("secret")
    Path(layout.xds_dir, "generation").write_text("1")
    made_folders.remove(layout)
    assert _tree(tmp_path) == before


def test_another_s_files_beside_it_stay(tmp_path: Path, layout: RootedLayout) -> None:
    _make(layout)
    (tmp_path / "host" / "other").write_text("another instance")
    made_folders.remove(layout)
    assert _tree(tmp_path) == ["host", "host/other"]


def test_folders_that_nobody_noted_are_emptied(tmp_path: Path, layout: RootedLayout) -> None:
    Path(layout.state_dir, "identity").mkdir(parents=True)
    made_folders.remove(layout)
    assert _tree(tmp_path) == ["host", "host/state"]


def test_a_making_that_was_cut_short_is_begun_again(tmp_path: Path, layout: RootedLayout) -> None:
    (tmp_path / "host.hostmesh-new" / "state").mkdir(parents=True)
    _make(layout)
    assert str(tmp_path / "host") in made_folders.made(layout)
    made_folders.remove(layout)
    assert _tree(tmp_path) == []


def test_a_note_is_never_written_through_a_link(tmp_path: Path, layout: RootedLayout) -> None:
    """An ordinary user's folder may be meant for root's instance later."""
    victim = tmp_path / "victim"
    victim.write_text("kept")
    Path(layout.state_dir).mkdir(parents=True)
    Path(f"{layout.made_file}.new").symlink_to(victim)
    _make(layout)
    assert victim.read_text() == "kept"
    assert layout.identity_dir in made_folders.made(layout)
