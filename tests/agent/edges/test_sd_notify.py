import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostmesh_agent.edges.sd_notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@hostmesh-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1))
        manager.settimeout(2)
        yield manager, address


def test_says_what_systemd_waits_for(systemd: tuple[socket.socket, str]) -> None:
    manager, address = systemd
    notifier = Notifier(address)
    notifier.ready("serving\nepoch 0")
    notifier.status("draining")
    notifier.alive()
    notifier.stopping()
    assert [manager.recv(1000) for _ in range(4)] == [
        b"READY=1\nSTATUS=serving epoch 0",  # in one line: a line break would be another variable
        b"STATUS=draining",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("", id="no systemd"),
        pytest.param("relative", id="an address that is none"),
        pytest.param("/nonexistent/notify", id="nobody listens"),
    ],
)
def test_nobody_to_tell_is_no_error(address: str) -> None:
    Notifier(address).ready("serving")


def test_takes_address_and_watchdog_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert Notifier().watchdog_seconds == 30.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert Notifier().watchdog_seconds == 0.0
    monkeypatch.delenv("WATCHDOG_USEC")
    assert Notifier().watchdog_seconds == 0.0
