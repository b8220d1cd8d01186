import os
import select
import subprocess
import sys
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


_WAITS = """
import os, sys, time
from hostmesh_agent.edges.as_user import run_as
from hostmesh_agent.edges.users import User

def work():
    print(os.getpid(), flush=True)
    time.sleep(float(sys.argv[1]))
    return {}

run_as(User(64001, 64001), work, ends_with_us=True)
"""


def test_what_only_asks_is_killed_with_who_asked_for_it() -> None:
    with subprocess.Popen([sys.executable, "-c", _WAITS, "60"], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            assert select.select([child], [], [], 20)[0] == [child]
        finally:
            os.close(child)


def test_it_is_not_killed_as_long_as_that_lives() -> None:
    argv = [sys.executable, "-c", _WAITS, "0.2"]
    assert subprocess.run(argv, stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_the_own_user_needs_no_child() -> None:
    assert run_as(User(os.geteuid(), os.getegid()), lambda: {"pid": os.getpid()}) == {
        "pid": os.getpid()
    }
