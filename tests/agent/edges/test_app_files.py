import os
from pathlib import Path

from hostmesh_agent.edges import app_files


def test_files_are_read_as_the_process_names_them(tmp_path: Path) -> None:
    for name in ("b.conf", "a.conf"):
        (tmp_path / name).write_text(name)
    (tmp_path / "c.conf").symlink_to("a.conf")
    found = app_files.matching(os.getpid(), f"{tmp_path}/*.conf")
    assert found == [f"{tmp_path}/{name}.conf" for name in "abc"]
    assert [app_files.read(os.getpid(), each) for each in found] == ["a.conf", "b.conf", "a.conf"]


def test_a_pipe_for_a_configuration_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "nginx.conf")
    assert app_files.read(os.getpid(), f"{tmp_path}/nginx.conf") is None
    assert app_files.read(os.getpid(), "/dev/zero") is None
    assert app_files.read(os.getpid(), "a\0b") is None


def test_a_pattern_over_whole_trees_is_not_walked(tmp_path: Path) -> None:
    (tmp_path / "1" / "2" / "3").mkdir(parents=True)
    assert app_files.matching(os.getpid(), f"{tmp_path}/*/*") == [f"{tmp_path}/1/2"]
    assert app_files.matching(os.getpid(), f"{tmp_path}/*/*/*") == []
