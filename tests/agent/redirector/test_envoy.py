"""Against processes and listeners of this machine: what the kernel says is what is tested."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hostmesh_agent.redirector import envoy
from hostmesh_core.redirect_files import EnvoyProcess

pytestmark = pytest.mark.process


@contextmanager
def _sleeping() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            yield process
        finally:
            process.kill()


def _named(pid: int, started: int = 0) -> EnvoyProcess:
    return EnvoyProcess(epoch=0, pid=pid, started=started, ready=True)


def test_a_process_is_held_until_it_ends() -> None:
    with _sleeping() as process:
        held = envoy.hold(_named(process.pid, envoy.started(process.pid)), os.getuid())
        assert held is not None
        before = held.alive
        process.kill()
        process.wait()
        assert (before, held.alive) == (True, False)
        held.close()
        assert envoy.hold(_named(process.pid), os.getuid()) is None
        assert envoy.started(process.pid) == 0


def test_another_users_process_and_another_start_are_not_it() -> None:
    with _sleeping() as process:
        started = envoy.started(process.pid)
        assert envoy.hold(_named(process.pid, started), os.getuid() + 1) is None
        assert envoy.hold(_named(process.pid, started + 1), os.getuid()) is None
        held = envoy.hold(_named(process.pid), os.getuid())
        assert held is not None
        held.close()


@contextmanager
def _answering(answer: bytes) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                time.sleep(0 if answer else 1.0)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("answer", "serves"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", True, id="ready"),
        pytest.param(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False, id="draining"),
        pytest.param(b"SSH-2.0-200\r\n", False, id="somebody else"),
        pytest.param(b"", False, id="silence"),
    ],
)
def test_only_200_is_serving(answer: bytes, serves: bool) -> None:  # noqa: FBT001
    with _answering(answer) as port:
        assert envoy.answers(port, timeout_seconds=0.3) == serves


def test_nobody_there_is_not_serving() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not envoy.answers(port)


def test_an_end_is_not_waited_out() -> None:
    with _answering(b"") as port, _sleeping() as process:
        held = envoy.hold(_named(process.pid), os.getuid())
        assert held is not None
        threading.Timer(0.05, process.kill).start()
        began = time.monotonic()
        assert not envoy.answers(port, held, timeout_seconds=10.0)
        assert time.monotonic() - began < 0.9
        held.close()
