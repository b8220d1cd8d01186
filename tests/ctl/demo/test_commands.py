import sys

import pytest

from hostmesh_ctl.demo import commands

pytestmark = pytest.mark.process


def test_gives_what_was_printed() -> None:
    done = commands.run([sys.executable, "-c", "print(input())"], text="hello\n")
    assert (done.returncode, done.stdout) == (0, "hello\n")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        pytest.param("import sys; sys.exit('no luck')", "ended with 1: no luck", id="it failed"),
        pytest.param("import time; time.sleep(9)", "cannot wait longer", id="it took too long"),
    ],
)
def test_what_goes_wrong_is_one_error(code: str, message: str) -> None:
    with pytest.raises(commands.CommandFailed, match=message):
        commands.run([sys.executable, "-c", code], timeout=0.5)


def test_a_missing_program_is_named() -> None:
    with pytest.raises(commands.CommandFailed, match="cannot run no-such-program: No such file"):
        commands.run(["no-such-program"])
