import os
import subprocess
import sys

import pytest

from hostmesh_agent.edges import users
from hostmesh_agent.edges.users import User
from hostmesh_core.errors import BadInput


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("root", User(0, 0), id="a name"),
        pytest.param("0", User(0, 0), id="a number with an account"),
        pytest.param("64001", User(64001, 64001), id="a number without one: its own group"),
        pytest.param("64001:7", User(64001, 7), id="both numbers"),
    ],
)
def test_find(text: str, expected: User) -> None:
    assert users.find(text, option="--agent-user") == expected


def test_an_unknown_name_says_how_to_make_it() -> None:
    with pytest.raises(BadInput, match=r"useradd .* no-such-user.*--agent-user"):
        users.find("no-such-user", option="--agent-user")


@pytest.mark.parametrize("text", ["4294967295", "99999999999", "64001:99999999999"])
def test_a_number_that_is_no_id_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match=rf"cannot use --agent-user {text}: the highest id is"):
        users.find(text, option="--agent-user")


def test_root_is_no_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert users.ordinary() is None
    monkeypatch.setattr(os, "geteuid", lambda: 64001)
    assert users.ordinary() == User(64001, os.getegid())


@pytest.mark.process
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_become_leaves_no_way_back() -> None:
    script = (
        "import os; from hostmesh_agent.edges import users; users.become(users.User(64001, 64002));"
        "print(os.getresuid(), os.getresgid(), os.getgroups());"
        "print(open('/proc/self/status').read().split('NoNewPrivs:')[1].split()[0])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.split("\n")[:2] == [
        "(64001, 64001, 64001) (64002, 64002, 64002) []",
        "1",
    ]
