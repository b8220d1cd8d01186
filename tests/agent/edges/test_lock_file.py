import errno
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
    with pytest.raises(Refused, match=r"^cannot take the lock .* symbolic link"):
        lock_file.hold(str(tmp_path / "lock"), what="runner")
    assert victim.read_text() == "kept"


def _full(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_keeps_the_number_out_and_nobody_from_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "lock")
    with monkeypatch.context() as full:
        full.setattr(os, "write", _full)
        descriptor = lock_file.hold(path, what="runner")
    with pytest.raises(Refused, match="another runner runs already"):
        lock_file.hold(path, what="runner")
    os.close(descriptor)


def test_what_cannot_be_made_for_want_of_room_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", _full)
    with pytest.raises(lock_file.NoRoom, match=r"^cannot take the lock .*/lock: No space left"):
        lock_file.hold(str(tmp_path / "lock"), what="runner")
