"""`leave` typed in a bad place or by a wrong user; the rest is in tests/lab."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hostmesh_agent.app import leaving
from hostmesh_core.errors import BadInput
from hostmesh_testing.rooted_layout import RootedLayout


@pytest.mark.process
def test_nothing_is_run_from_the_folder_that_it_is_typed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m` looks in the current folder first, which may be anybody's."""
    planted = tmp_path / "hostmesh_agent"
    planted.mkdir()
    (planted / "__init__.py").touch()
    (planted / "main.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    ran = []
    real = subprocess.run

    def only_its_help(argv: tuple[str, ...], **given: Any) -> subprocess.CompletedProcess[str]:
        ran.append(argv)
        return real((*argv, "--help"), **given)

    monkeypatch.setattr(subprocess, "run", only_its_help)
    layout = RootedLayout(instance="none", root=str(tmp_path / "host"))
    Path(layout.state_dir).mkdir(parents=True)
    leaving.leave(layout, "/etc/hostmesh/agent.yaml", lambda _: None)
    assert [words[3:5] for words in ran] == [("redirect", "remove")]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("folder", ["state_dir", "run_dir"])
def test_another_user_s_instance_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    layout = RootedLayout(root=str(tmp_path))
    Path(getattr(layout, folder)).mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 64099)
    with pytest.raises(BadInput, match=r"belongs to uid .*; run as root; nothing was changed"):
        leaving.leave(layout, "/etc/hostmesh/agent.yaml", lambda _: None)
