import os
from pathlib import Path

import pytest

from hostmesh_agent.edges import lock_file
from hostmesh_core.errors import Refused


def test_one_has_it_until_it_ends(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    first = lock_file.hold(path, what="runner")
    with pytest.raises(
        Refused, match=rf"^cannot start: another runner runs already \(pid {os.getpid()}, {path}\)$"
    ):
        lock_file.hold(path, what="runner")
    os.close(first)
    os.close(lock_file.hold(path, what="runner"))


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        lock_file.hold(str(tmp_path / "lock"), what="runner")
    assert victim.read_text() == "kept"
