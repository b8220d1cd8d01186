"""Lets Envoy finish what it has before the runner ends it: asks its admin, counts connections."""

import re
import socket
from collections.abc import Iterable

from hostmesh_core.envoy_silence import ANSWER_SECONDS

TIMEOUT_SECONDS = ANSWER_SECONDS
"""As patient as who asks whether it serves: of a starved Envoy, too, the connections are kept."""
MAX_BYTES = 1024 * 1024
POLL_SECONDS = 0.25
_ACTIVE = re.compile(rb"^(listener\.\S*)\.downstream_cx_active: (\d+)", re.MULTILINE)
_FILTER = "^listener%5C..*downstream_cx_active$"


def begin(admin: str) -> bool:
    """Turn readiness off and begin a graceful drain; False where Envoy's admin does not answer."""
    failed = _ask(admin, "POST", "/healthcheck/fail")
    drained = _ask(admin, "POST", "/drain_listeners?graceful&skip_exit")
    return failed is not None and drained is not None


def connections(admin: str, own_ports: Iterable[int]) -> int:
    """Count the mesh's connections: not admin's, not those of `own_ports`; 0 where none answers."""
    own = tuple(f"_{port}".encode() for port in own_ports)
    answer = _ask(admin, "GET", f"/stats?filter={_FILTER}") or b""
    return sum(
        int(value)
        for name, value in _ACTIVE.findall(answer)
        if b".admin" not in name and b".worker_" not in name and not name.endswith(own)
    )


def _ask(admin: str, method: str, path: str) -> bytes | None:
    """Give the whole answer, head and all, or None where it is not 200 or does not come."""
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}\r\n"
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT_SECONDS)
            connection.connect(admin)
            connection.sendall(head.encode())
            while len(answer) < MAX_BYTES and (data := connection.recv(65536)):
                answer += data
    except OSError:
        return None
    return bytes(answer) if answer.startswith(b"HTTP/1.1 200") else None
