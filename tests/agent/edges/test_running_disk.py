from pathlib import Path

import pytest

from hostmesh_agent.edges import running_disk

FILE = "/etc/hostmesh/agent.yaml"


def test_what_was_taken_in_is_found_until_everything_is_made_anew(tmp_path: Path) -> None:
    path, runner = str(tmp_path / "running.json"), tmp_path / "runner.json"
    runner.write_text("{}")
    made = running_disk.stamp(str(runner))
    running_disk.store(path, file=FILE, text="services: []\n", made=made)
    assert running_disk.load(path, file=FILE, made=made) == "services: []\n"
    assert running_disk.load(path, file="/other.yaml", made=made) is None
    new = tmp_path / "new"
    new.write_text("{}")
    new.replace(runner)
    assert running_disk.load(path, file=FILE, made=running_disk.stamp(str(runner))) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"file": 1}'])
def test_what_cannot_be_read_counts_as_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "running.json"
    assert running_disk.load(str(path), file=FILE, made=[1, 2, 3]) is None
    path.write_bytes(data)
    assert running_disk.load(str(path), file=FILE, made=[1, 2, 3]) is None


def test_without_a_runner_file_the_file_itself_counts(tmp_path: Path) -> None:
    path = str(tmp_path / "running.json")
    running_disk.store(path, file=FILE, text="x", made=[])
    assert running_disk.stamp(str(tmp_path / "none")) == []
    assert running_disk.load(path, file=FILE, made=[]) is None
