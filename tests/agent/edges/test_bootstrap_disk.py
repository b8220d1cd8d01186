import os
import stat
from pathlib import Path

import pytest

from hostmesh_agent.edges import bootstrap_disk


def test_the_file_is_there_as_a_whole_for_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "bootstrap-0.json"
    path.write_text("old")
    before = os.umask(0o077)
    try:
        bootstrap_disk.write(str(path), "new")
    finally:
        os.umask(before)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [file.name for file in tmp_path.iterdir()] == ["bootstrap-0.json"]


def test_the_folders_group_is_taken_over(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a folder to another group")
    os.chown(tmp_path, 0, 64002)
    tmp_path.chmod(0o2750)
    bootstrap_disk.write(str(tmp_path / "b.json"), "x")
    assert (tmp_path / "b.json").stat().st_gid == 64002


def test_a_link_that_somebody_left_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "b.json.new").symlink_to(victim)
    (tmp_path / "b.json").symlink_to(victim)
    bootstrap_disk.write(str(tmp_path / "b.json"), "x")
    assert victim.read_text() == "kept"
    assert not (tmp_path / "b.json").is_symlink()


def test_a_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    path = str(tmp_path / "none" / "b.json")
    with pytest.raises(bootstrap_disk.BootstrapNotWritten, match=f"^cannot write {path}: "):
        bootstrap_disk.write(path, "x")


def test_knows_whether_ipv6_can_be_bound() -> None:
    assert bootstrap_disk.can_bind_ipv6() is Path("/proc/net/if_inet6").exists()
