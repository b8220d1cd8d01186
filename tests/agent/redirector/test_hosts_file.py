import errno
import os
from pathlib import Path

import pytest

from hostmesh_agent.redirector import hosts_file
from hostmesh_agent.redirector.hosts_file import CannotWriteHosts

OLD, NEW = b"127.0.0.1 localhost\n10.0.0.1 a\n", b"127.0.0.1 localhost\n240.240.0.1 x\n"


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


def _write(path: Path, old: bytes | None = OLD, new: bytes = NEW) -> None:
    hosts_file.write(str(path), old, new, str(path.parent / "journal"))


def _busy(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """A bind mount: nothing can be renamed onto it."""
    rename = Path.replace

    def refuse(self: Path, target: Path | str) -> Path:
        if str(target) == str(path):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse)


def test_a_rename_keeps_mode_and_leaves_nothing_beside(hosts: Path) -> None:
    inode = hosts.stat().st_ino
    _write(hosts)
    assert hosts.read_bytes() == NEW
    assert hosts.stat().st_mode & 0o777 == 0o640
    assert hosts.stat().st_ino != inode
    assert [entry.name for entry in hosts.parent.iterdir()] == ["hosts"]


def test_a_link_is_followed_and_stays(hosts: Path) -> None:
    link = hosts.parent / "link"
    link.symlink_to(hosts)
    _write(link)
    assert link.is_symlink()
    assert hosts.read_bytes() == NEW


@pytest.mark.parametrize(
    "new", [NEW, NEW * 3, b"x\n", b""], ids=["like", "longer", "shorter", "empty"]
)
def test_where_rename_is_busy_it_is_written_in_place(
    hosts: Path, monkeypatch: pytest.MonkeyPatch, new: bytes
) -> None:
    _busy(monkeypatch, hosts)
    inode = hosts.stat().st_ino
    _write(hosts, new=new)
    assert hosts.read_bytes() == new
    assert hosts.stat().st_ino == inode
    assert [entry.name for entry in hosts.parent.iterdir()] == ["hosts"]


@pytest.mark.parametrize("new", [NEW * 2, b"::1 x\n"], ids=["longer", "shorter"])
def test_a_write_in_place_that_was_killed_is_finished(
    hosts: Path, monkeypatch: pytest.MonkeyPatch, new: bytes
) -> None:
    _busy(monkeypatch, hosts)
    journal = hosts.parent / "journal"

    class Killed(BaseException):
        """Not an Exception, as SIGKILL is none."""

    def torn(descriptor: int, data: bytes, offset: int) -> int:
        os.lseek(descriptor, offset, os.SEEK_SET)
        os.write(descriptor, data[: len(data) // 2])
        raise Killed

    monkeypatch.setattr("hostmesh_agent.redirector.hosts_file.os.pwrite", torn)
    with pytest.raises(Killed):
        _write(hosts, new=new)
    monkeypatch.undo()
    assert hosts.read_bytes() not in (OLD, new)
    hosts_file.recover(str(hosts), str(journal))
    assert hosts.read_bytes() == new
    assert not journal.exists()


def test_somebodys_edit_after_a_killed_write_is_not_overwritten(
    hosts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _busy(monkeypatch, hosts)
    journal = hosts.parent / "journal"
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    _write(hosts)
    monkeypatch.undo()
    assert journal.exists()
    hosts.write_bytes(b"10.9.9.9 somebody\n")
    hosts_file.recover(str(hosts), str(journal))
    assert hosts.read_bytes() == b"10.9.9.9 somebody\n"
    assert not journal.exists()


def test_a_file_that_changed_meanwhile_is_left_for_the_next_pass(hosts: Path) -> None:
    hosts.write_bytes(b"10.9.9.9 somebody\n")
    with pytest.raises(CannotWriteHosts, match="somebody else is changing it"):
        _write(hosts)
    assert hosts.read_bytes() == b"10.9.9.9 somebody\n"


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    _write(tmp_path / "hosts", old=None)
    assert (tmp_path / "hosts").read_bytes() == NEW
    assert (tmp_path / "hosts").stat().st_mode & 0o777 == 0o644


def test_what_cannot_be_written_is_said(hosts: Path) -> None:
    with pytest.raises(CannotWriteHosts, match=r"^cannot read "):
        hosts_file.read(str(hosts.parent))


@pytest.mark.parametrize("bind_mount", [False, True])
@pytest.mark.parametrize("new", [OLD[:20], OLD + b"10.0.0.2 b\n"], ids=["shorter", "longer"])
def test_a_full_disk_takes_what_is_shorter(
    hosts: Path, monkeypatch: pytest.MonkeyPatch, new: bytes, *, bind_mount: bool
) -> None:
    """Nothing can be made beside it, and nothing at the journal's place."""
    make, open_path = os.open, Path.open

    def full(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT and not bind_mount:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return make(path, flags, *rest)

    def no_journal(self: Path, mode: str = "r") -> object:
        if self.name.startswith("journal") and "w" in mode:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return open_path(self, mode)

    if bind_mount:
        _busy(monkeypatch, hosts)
    monkeypatch.setattr(os, "open", full)
    monkeypatch.setattr(Path, "open", no_journal)
    if new < OLD:
        _write(hosts, new=new)
    else:
        with pytest.raises(CannotWriteHosts, match="No space left"):
            _write(hosts, new=new)
    assert hosts.read_bytes() == min(new, OLD)
    assert [entry.name for entry in hosts.parent.iterdir()] == ["hosts"]
