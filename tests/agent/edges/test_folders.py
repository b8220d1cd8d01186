import os
import stat
from pathlib import Path

import pytest

from hostmesh_agent.edges import folders
from hostmesh_agent.edges.folders import Folder
from hostmesh_agent.edges.users import User
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout

AGENT, ENVOY = User(64001, 64001), User(64002, 64002)
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give folders away")


@ROOT
def test_owners_and_modes_are_the_designs() -> None:
    wanted = folders.wanted(HostLayout(), agent=AGENT, envoy=ENVOY)
    told = {folder.path: (oct(folder.mode), folder.uid, folder.gid) for folder in wanted}
    assert told == {
        "/var/lib/hostmesh": ("0o755", 0, 0),
        "/var/lib/hostmesh/default": ("0o755", 0, 0),
        "/var/lib/hostmesh/default/identity": ("0o700", 64001, 64001),
        "/var/lib/hostmesh/default/xds": ("0o700", 64001, 64001),
        "/run/hostmesh": ("0o755", 0, 0),
        "/run/hostmesh/default": ("0o755", 0, 0),
        "/run/hostmesh/default/envoy": ("0o2750", 64001, 64002),
        "/run/hostmesh/default/admin": ("0o2750", 64002, 64001),
        "/run/hostmesh/default/hot-restart": ("0o700", 64002, 64002),
        "/run/hostmesh/default/capture": ("0o755", 64001, 64001),
        "/run/hostmesh/default/redirector": ("0o755", 0, 0),
        "/run/hostmesh/default/control": ("0o750", 64001, 64001),
        "/run/hostmesh/default/parent": ("0o700", 0, 0),
    }
    paths = [folder.path for folder in wanted]
    assert all(paths.index(str(Path(path).parent)) < paths.index(path) for path in paths[1:4])


@ROOT
def test_makes_what_is_missing_and_puts_right_what_differs(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(mode=0o777)
    wanted = [
        Folder(str(there), 0o2750, 64001, 64002),
        Folder(str(there / "new"), 0o700, 64002, 64002),
    ]
    for _ in range(2):
        folders.make(wanted)
        for folder in wanted:
            about = Path(folder.path).stat()
            found = (stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid)
            assert found == (folder.mode, folder.uid, folder.gid)


def test_something_else_in_the_place_is_not_touched(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o755)
    link = tmp_path / "link"
    link.symlink_to(victim)
    with pytest.raises(BadInput, match=f"^cannot use {link}: it is not a folder"):
        folders.make([Folder(str(link), 0o700, os.geteuid(), os.getegid())])
    assert stat.S_IMODE(victim.stat().st_mode) == 0o755


def test_what_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "none" / "folder"
    with pytest.raises(BadInput, match=rf"^cannot make {path}: .*; run as root"):
        folders.make([Folder(str(path), 0o700, 0, 0)])
