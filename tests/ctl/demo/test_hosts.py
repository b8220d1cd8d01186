import os
import sys
from pathlib import Path

import pytest

from hostmesh_ctl.demo import hosts
from hostmesh_ctl.demo.namespaces import LabUnavailable


def test_only_root_can_make_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabUnavailable, match="needs root on Linux"):
        hosts.check_machine()


def test_what_the_machine_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(hosts, "NEEDED", ("sh", "no-such-tool"))
    with pytest.raises(LabUnavailable, match="cannot make hosts: no-such-tool not found"):
        hosts.check_machine()


def test_our_programs_lie_beside_the_running_python() -> None:
    assert hosts.program("hostmesh-agent") == str(Path(sys.executable).parent / "hostmesh-agent")


def test_every_tree_that_python_imports_from_is_exposed() -> None:
    paths = hosts.code_paths()
    for entry in (sys.prefix, str(Path(hosts.__file__).parents[2])):
        assert any(Path(entry).is_relative_to(path) for path in paths), entry


def test_a_host_gets_no_variable_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://dead.test:1")
    assert "https_proxy" not in hosts.environment()


def test_the_lab_looks_for_nothing_in_the_folder_that_it_is_started_in() -> None:
    """`python -m` looks there first, as root, and the folder may be anybody's."""
    sources = Path(hosts.__file__).parent
    starting = [
        line
        for path in sources.glob("*.py")
        for line in path.read_text().splitlines()
        if "[sys.executable" in line and '"-m"' in line
    ]
    assert len(starting) >= 3
    assert [line for line in starting if '"-P", "-m"' not in line] == []
