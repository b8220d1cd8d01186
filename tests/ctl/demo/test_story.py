from pathlib import Path

import pytest

from hostmesh_ctl.demo import consul_binary, story
from hostmesh_ctl.demo.consul_binary import ConsulMissing
from hostmesh_ctl.demo.namespaces import LabUnavailable


def test_without_a_consul_the_demo_says_so_first_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: object) -> Path:
        raise ConsulMissing(f"cannot find a Consul (no mirror); {consul_binary.WAYS}")

    monkeypatch.setattr(consul_binary, "find", none)
    assert story._consul() is None
    said = capsys.readouterr().out
    for way in ("PATH", "CONSUL_BIN", "HOSTMESH_ARCHIVE_MIRROR", "NOT SHOWN"):
        assert way in said


def test_a_machine_that_cannot_is_told_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise LabUnavailable("cannot make hosts: ip not found")

    monkeypatch.setattr(story, "check_machine", refuse)
    assert story.main(keep=False) == 1
    assert "demo: cannot make hosts: ip not found" in capsys.readouterr().err


def test_ctrl_c_has_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(story, "check_machine", interrupt)
    assert story.main(keep=False) == 130
    assert "nothing is left" in capsys.readouterr().err
