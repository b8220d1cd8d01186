import os
from pathlib import Path

import pytest

from hostmesh_agent.edges import untrusted_file


def test_a_regular_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert untrusted_file.read(str(file), 100) == b"12345"
    assert untrusted_file.read(str(file), 3) == b"123"
    file.write_bytes(b"")
    assert untrusted_file.read(str(file), 3) == b""


def test_what_would_keep_root_waiting_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "folder", Path("/dev/zero")):
        with pytest.raises(OSError, match="no regular file"):
            untrusted_file.read(str(path), 3)
    assert untrusted_file.read("/proc/self/environ", 3) == b""


def test_a_link_is_followed_only_where_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    link = tmp_path / "link"
    link.symlink_to("file")
    with pytest.raises(OSError, match="no regular file"):
        untrusted_file.read(str(link), 3)
    assert untrusted_file.read(str(link), 3, follow=True) == b"1"
    with pytest.raises(FileNotFoundError):
        untrusted_file.read(str(tmp_path / "none"), 3)
