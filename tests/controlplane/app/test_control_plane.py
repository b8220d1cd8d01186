import pytest

from hostmesh_controlplane.app import control_plane
from hostmesh_controlplane.edges.operator_api import Audited, Caller


def _raised() -> Exception:
    try:
        raise KeyError("inside")
    except KeyError as error:
        return error


def test_a_bug_behind_a_call_is_in_the_log_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caller = Caller(uid=0, pid=1, user="root")
    with caplog.at_level("INFO"):
        control_plane._audit(Audited(caller, "POST /v1/x", {}, "cannot", bug=_raised()))
    audit, failure = caplog.records
    assert (audit.name, audit.exc_info) == ("hostmesh.audit", None)
    assert failure.levelname == "ERROR"
    assert "raise KeyError" in caplog.text
