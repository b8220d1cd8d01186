"""Sockets inside a host's network, opened from outside: one thread enters, makes one, and ends."""

import ctypes
import http.client
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from hostmesh_core.errors import HostmeshError

CLONE_NEWNET = 0x40000000
"""setns(2): the kind of namespace is the network, which a single thread may change."""


class NoAnswer(HostmeshError):
    """What was asked inside a host did not answer."""


def connect(pid: int, address: str, port: int, *, seconds: float = 5.0) -> socket.socket:
    """Connect from the network of process `pid` to `address`. Raises NoAnswer."""
    try:
        return _made(pid, lambda: socket.create_connection((address, port), timeout=seconds))
    except OSError as error:
        raise NoAnswer(f"cannot connect to {address} port {port} inside: {error}") from error


def listen(pid: int, address: str, port: int) -> socket.socket:
    """Listen in the network of process `pid`; what is accepted is served out here. Raises NoAnswer.

    The address `::` takes IPv4 too.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = address == "::"
    try:
        return _made(
            pid,
            lambda: socket.create_server(
                (address, port), family=family, backlog=256, dualstack_ipv6=both
            ),
        )
    except OSError as error:
        raise NoAnswer(f"cannot listen on {address} port {port} inside: {error}") from error


def _made(pid: int, make: Callable[[], socket.socket]) -> socket.socket:
    results: list[socket.socket | OSError] = []

    def work() -> None:
        try:
            _enter(pid)
            results.append(make())
        except OSError as error:
            results.append(error)

    # A namespace belongs to a thread: this one is thrown away with its own.
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(results[0], OSError):
        raise results[0]
    return results[0]


def _enter(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class _Connection(http.client.HTTPConnection):
    def __init__(self, made: socket.socket, host: str) -> None:
        super().__init__(host)
        self.sock = made


def ask(  # noqa: PLR0913 - one HTTP request has these parts
    pid: int,
    url_path: str,
    *,
    port: int,
    address: str = "127.0.0.1",
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = 5.0,
) -> tuple[int, bytes]:
    """Make one HTTP request from the network of process `pid`. Raises NoAnswer."""
    with connect(pid, address, port, seconds=seconds) as made:
        connection = _Connection(made, f"{address}:{port}")
        try:
            connection.request(method, url_path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"cannot read {url_path} at port {port} inside: {error!r}") from error


def ask_unix(path: str, url_path: str, *, seconds: float = 5.0) -> tuple[int, bytes]:
    """Make one HTTP GET over a unix socket. Raises NoAnswer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.settimeout(seconds)
        connection = _Connection(made, "localhost")
        try:
            made.connect(path)
            connection.request("GET", url_path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(f"cannot read {url_path} at {path}: {error!r}") from error


def ask_agent(path: str, verb: str, *, seconds: float = 5.0) -> object:
    """Ask a running agent over its control socket, as `hostmesh-agent` does: a program's start
    costs half a second of a core, which a host under load lacks. Raises NoAnswer.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.settimeout(seconds)
        try:
            made.connect(path)
            made.sendall(json.dumps({"do": verb}).encode() + b"\n")
            with made.makefile("rb") as lines:
                last = json.loads(lines.readlines()[-1])
            return last["result"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise NoAnswer(f"cannot ask the agent at {path} for {verb}: {error!r}") from error
