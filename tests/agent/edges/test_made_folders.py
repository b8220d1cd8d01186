import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hostmesh_agent.edges import folders, made_folders
from hostmesh_agent.edges.users import User
from hostmesh_core.host_layout import HostLayout
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


@pytest.mark.parametrize("there_before", [True, False])
def test_no_depth_of_folders_keeps_them(
    tmp_path: Path, layout: RootedLayout, *, there_before: bool
) -> None:
    """Whoever has the agent's user can nest them deeper than a recursion goes."""
    for folder in (layout.run_dir, layout.state_dir, layout.identity_dir):
        if there_before:
            Path(folder).mkdir(parents=True)
    before = _tree(tmp_path)
    _make(layout)
    here = os.open(layout.identity_dir, os.O_RDONLY)
    for _ in range(2 * sys.getrecursionlimit()):
        os.mkdir("d", dir_fd=here)
        here, outer = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(outer)
    os.close(here)
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
    (tmp_path / "host.hostmesh-new.default.7" / "state").mkdir(parents=True)
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


class Outer(HostLayout):
    """Instances of one host, as they lie beside each other."""

    root = ""

    @property
    def state_dir(self) -> str:
        return f"{self.root}/var/lib/hostmesh/{self.instance}"

    @property
    def run_dir(self) -> str:
        return f"{self.root}/run/hostmesh/{self.instance}"

    @property
    def log_file(self) -> str:
        return f"{self.root}/var/log/hostmesh/{self.instance}.log"


@pytest.fixture
def instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Outer]:
    for folder in ("var/lib", "var/log", "run"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(Outer, "root", str(tmp_path))
    return [Outer("default"), Outer("gw")]


def _join(layout: Outer) -> None:
    made_folders.make(layout, folders.wanted(layout, agent=ME, envoy=ME))
    Path(layout.log_file).parent.mkdir(exist_ok=True)
    Path(layout.log_file).touch()


@pytest.mark.parametrize("first", [0, 1], ids=["as they came", "the other way round"])
def test_the_last_instance_takes_the_outer_folders_along(
    tmp_path: Path, instances: list[Outer], first: int
) -> None:
    before = _tree(tmp_path)
    for each in instances:
        _join(each)
    made_folders.remove(instances[first])
    assert Path(instances[1 - first].identity_dir).is_dir()
    made_folders.remove(instances[1 - first])
    assert _tree(tmp_path) == before


def test_outer_folders_that_were_there_before_outlive_the_last_instance(
    tmp_path: Path, instances: list[Outer]
) -> None:
    (tmp_path / "var" / "lib" / "hostmesh").mkdir()
    (tmp_path / "run" / "hostmesh").mkdir()
    before = _tree(tmp_path)
    for each in instances:
        _join(each)
    for each in instances:
        made_folders.remove(each)
    assert _tree(tmp_path) == before


def test_what_a_killed_writer_left_goes_with_the_last_instance(
    tmp_path: Path, instances: list[Outer]
) -> None:
    before = _tree(tmp_path)
    for each in instances:
        _join(each)
    unfinished = tmp_path / "var" / "lib" / "hostmesh" / ".redirect-shared.json.new"
    unfinished.touch()
    made_folders.remove(instances[0])
    assert unfinished.exists(), "the other instance may be writing it"
    made_folders.remove(instances[1])
    assert _tree(tmp_path) == before


def test_a_folder_that_only_looks_unfinished_is_somebody_elses_and_stays(
    tmp_path: Path, instances: list[Outer]
) -> None:
    _join(instances[0])
    foreign = tmp_path / "var" / "lib" / "hostmesh" / ".kept.new"
    foreign.mkdir()
    made_folders.remove(instances[0])
    assert foreign.is_dir()


def test_first_joins_of_two_instances_at_once(tmp_path: Path, instances: list[Outer]) -> None:
    before = _tree(tmp_path)
    for _ in range(40):
        with ThreadPoolExecutor() as pool:
            list(pool.map(_join, instances))  # raises what one of them raised
        for each in instances:
            assert each.identity_dir in made_folders.made(each)
        with ThreadPoolExecutor() as pool:
            list(pool.map(made_folders.remove, instances))
        assert _tree(tmp_path) == before
