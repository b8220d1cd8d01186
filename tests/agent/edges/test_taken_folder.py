import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hostmesh_agent.edges import taken_folder

DEEP = 2000
FILLS = """
import os, sys
print("up", flush=True)
number = 0
while True:
    number += 1
    for folder in map(int, sys.argv[1:]):
        try:
            os.close(os.open(f"f{number % 50}", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder))
            os.mkdir(f"d{number % 50}", dir_fd=folder)
        except OSError:
            pass
"""


def _fill(folder: Path) -> None:
    for name in ("1", "2", "inner"):
        (folder / name / "1" / "2").mkdir(parents=True)
        (folder / name / "file").write_text("x")
    (folder / "link").symlink_to(folder.parent)
    os.mkfifo(folder / "inner" / "pipe")
    (folder.parent / "beside").write_text("kept")


def _deepen(folder: Path) -> None:
    here = os.open(folder, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


@pytest.mark.parametrize("fill", [_fill, _deepen])
def test_a_folder_goes_with_all_that_is_in_it(tmp_path: Path, fill: Callable[[Path], None]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    fill(folder)
    taken_folder.remove(str(folder))
    assert not folder.exists()
    assert (tmp_path / "beside").exists() is (fill is _fill)


def test_an_emptied_folder_is_its_owner_s_as_before(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    _fill(folder)
    folder.chmod(0o2750)
    before = folder.stat()
    taken_folder.empty(str(folder))
    after = folder.stat()
    assert list(folder.iterdir()) == []
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    (tmp_path / "link").symlink_to("there")
    with pytest.raises(OSError, match="link"):
        taken_folder.remove(str(tmp_path / "link"))
    assert (tmp_path / "there" / "file").exists()


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
@pytest.mark.parametrize("act", [taken_folder.remove, taken_folder.empty])
def test_its_owner_cannot_keep_it_full(tmp_path: Path, act: Callable[[str], None]) -> None:
    folder = tmp_path / "folder"
    for each in (folder, folder / "inner"):
        each.mkdir()
        os.chown(each, 64012, 64012)
    opened = [os.open(each, os.O_RDONLY) for each in (folder, folder / "inner")]
    fills = [sys.executable, "-c", FILLS, *map(str, opened)]
    with subprocess.Popen(
        fills, user=64012, extra_groups=[], stdout=subprocess.PIPE, pass_fds=opened, cwd="/"
    ) as filling:
        try:
            assert filling.stdout is not None
            assert filling.stdout.readline() == b"up\n"
            while not any(folder.glob("inner/f*")):
                threading.Event().wait(0.01)
            act(str(folder))
        finally:
            filling.kill()
            for descriptor in opened:
                os.close(descriptor)
    assert folder.exists() is (act is taken_folder.empty)
