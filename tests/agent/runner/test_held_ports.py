import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hostmesh_agent.runner import held_ports

pytestmark = pytest.mark.process
STRANGER = 64123
_BIND = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM) as wanted:
    for option in sys.argv[3:]:
        wanted.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
    try:
        wanted.bind((sys.argv[1], int(sys.argv[2])))
        wanted.listen()
    except OSError as error:
        sys.exit(error.errno)
"""


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    held, problems = held_ports.hold([number])
    try:
        assert problems == []
        yield number
    finally:
        for each in held:
            each.close()


def _bind(address: str, port: int, *options: str, uid: int) -> int:
    """Bind and listen as a user; gives the errno, 0 where it worked."""
    command = [sys.executable, "-c", _BIND, address, str(port), *options]
    return subprocess.run(command, user=uid, check=False).returncode


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize(
    "options", [[], ["SO_REUSEADDR"], ["SO_REUSEPORT"], ["SO_REUSEADDR", "SO_REUSEPORT"]], ids=str
)
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::", "::1", "::ffff:127.0.0.1"])
def test_nobody_else_gets_a_held_port(port: int, address: str, options: list[str]) -> None:
    assert _bind(address, port, *options, uid=STRANGER) == errno.EADDRINUSE


def test_who_calls_it_finds_nobody_there(port: int) -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_STREAM) as calling:
            assert calling.connect_ex((address, port)) == errno.ECONNREFUSED


def test_the_same_user_listens_beside_it_and_gets_every_connection(port: int) -> None:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(("0.0.0.0", port))
        listening.listen()
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                listening.accept()[0].close()


def test_a_port_that_somebody_has_is_said_and_the_others_are_kept(port: int) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        number = taken.getsockname()[1]
        held, problems = held_ports.hold([number, port])
        for each in held:
            each.close()
    assert problems == [f"0.0.0.0:{number}: Address already in use"]
    assert len(held) == 3
