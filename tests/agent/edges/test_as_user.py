import os
from collections.abc import Mapping

import pytest

from hostmesh_agent.edges.as_user import run_as
from hostmesh_agent.edges.users import User
from hostmesh_core.errors import BadInput, HostmeshError, Refused, Unreachable

NOBODY = User(64001, 64001)
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user"),
]


def test_the_work_is_done_by_the_user_and_root_stays_root() -> None:
    assert run_as(NOBODY, lambda: {"uid": os.getuid()}) == {"uid": 64001}
    assert os.getuid() == 0


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(BadInput("cannot use it"), id="what a person wrote"),
        pytest.param(Refused("cannot allow it"), id="a refusal"),
        pytest.param(Unreachable("cannot reach it"), id="a dependency that is away"),
    ],
)
def test_an_error_keeps_its_family(error: HostmeshError) -> None:
    def fail() -> Mapping[str, object]:
        raise error

    with pytest.raises(type(error), match=str(error)):
        run_as(NOBODY, fail)


def test_a_child_that_dies_is_said() -> None:
    def die() -> Mapping[str, object]:
        os._exit(3)

    with pytest.raises(Unreachable, match="ended early"):
        run_as(NOBODY, die)


def test_an_error_that_nobody_foresaw_is_named() -> None:
    def fail() -> Mapping[str, object]:
        raise OSError(28, "No space left on device")

    with pytest.raises(
        Unreachable,
        match=r"cannot finish the work of uid 64001: OSError: .*No space left on device "
        r"\(test_as_user\.py:\d+\)",
    ):
        run_as(NOBODY, fail)


def test_the_own_user_needs_no_child() -> None:
    assert run_as(User(os.geteuid(), os.getegid()), lambda: {"pid": os.getpid()}) == {
        "pid": os.getpid()
    }
