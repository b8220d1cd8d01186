"""Which sockets of this host take TCP connections, and whose they are (psutil)."""

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Socket:
    """A listening socket with its process; pid 0 = this user may not see whose it is."""

    address: str
    port: int
    pid: int = 0
    process: str = ""
    command: tuple[str, ...] = ()


def listening() -> list[Socket]:
    """Give every listening TCP socket of this host."""
    found = []
    for each in psutil.net_connections(kind="tcp"):
        if each.status == psutil.CONN_LISTEN and each.laddr:
            address = str(each.laddr.ip).partition("%")[0]
            found.append(_socket(address, int(each.laddr.port), each.pid or 0))
    return sorted(found, key=lambda socket: (socket.port, socket.address, socket.pid))


def _socket(address: str, port: int, pid: int) -> Socket:
    if not pid:
        return Socket(address, port)
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return Socket(address, port, pid, process.name(), tuple(process.cmdline()))
    except psutil.Error:
        return Socket(address, port)  # it ended meanwhile


def parent_command(pid: int) -> tuple[str, ...]:
    """Give the command line of a process's parent; empty where this user may not see it."""
    try:
        parent = psutil.Process(pid).parent()
        return tuple(parent.cmdline()) if parent is not None else ()
    except psutil.Error:
        return ()


def executable(pid: int) -> str:
    """Give the path of a process's program; empty where this user may not see it."""
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""
