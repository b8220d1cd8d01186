import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hostmesh_agent.edges import instance_lock
from hostmesh_core.errors import Refused
from hostmesh_testing.rooted_layout import RootedLayout


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RootedLayout:
    monkeypatch.setattr(instance_lock, "WAIT_SECONDS", 0.3)
    layout = RootedLayout(root=str(tmp_path / "host"))
    Path(layout.state_dir).mkdir(parents=True)
    return layout


@pytest.mark.parametrize("uid", [0, 1000])
def test_one_has_it_at_a_time(
    layout: RootedLayout, monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    said: list[str] = []
    with (
        instance_lock.held(layout, say=said.append),
        pytest.raises(Refused, match="another join or leave of this instance is under way"),
        instance_lock.held(layout, say=said.append),
    ):
        pass
    assert said == ["waiting for another join or leave of this instance to end"]
    with instance_lock.held(layout, say=said.append):
        pass


def test_nobody_else_can_keep_root_out(
    layout: RootedLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may read a folder may lock it."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    stranger = os.open(layout.state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(stranger, fcntl.LOCK_EX)
        with instance_lock.held(layout, say=print):
            assert Path(layout.lifecycle_lock).stat().st_mode & 0o777 == 0o600
    finally:
        os.close(stranger)
    assert not Path(layout.lifecycle_lock).exists()


def test_a_folder_that_a_leave_removed_is_a_sentence(
    layout: RootedLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    Path(layout.state_dir).rmdir()
    with (
        pytest.raises(Refused, match=r"a leave has removed .*; nothing was changed, run it again"),
        instance_lock.held(layout, say=print),
    ):
        pass


HOLDS = """
import sys, time, types
from hostmesh_agent.edges import instance_lock
layout = types.SimpleNamespace(lifecycle_lock=sys.argv[1], state_dir=sys.argv[2])
with instance_lock.held(layout, say=print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.process
def test_it_ends_with_its_holder_however_that_ends(layout: RootedLayout) -> None:
    argv = [sys.executable, "-c", HOLDS, layout.lifecycle_lock, layout.state_dir]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
        holder.wait(10)
        with instance_lock.held(layout, say=print):
            pass


def test_a_full_disk_bars_no_way_out(layout: RootedLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "open", full)
    said: list[str] = []
    with instance_lock.held(layout, say=said.append):
        pass
    assert said == [
        f"cannot take the lock {layout.lifecycle_lock}: No space left on device; "
        "going on without it"
    ]
