"""Reads the configuration of known software that judges callers by address, as the app sees it.

Files are read below the process's own root, so that an app in a container is judged by its files.
"""

import glob
import itertools
import socket
from contextlib import suppress
from pathlib import Path

from hostmesh_agent.edges import listeners, untrusted_file
from hostmesh_agent.edges.listeners import Socket

LIMIT = 1024 * 1024
MOST_FILES = 200
MOST_WILD = 2
"""Parts of a pattern that may hold a wildcard."""
_REDIS_SECONDS = 0.5
_REDIS_QUESTION = b"*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$14\r\nprotected-mode\r\n"


def read(pid: int, path: str) -> str | None:
    """Give the text of a process's file; None where it cannot be read."""
    with suppress(OSError, ValueError):
        data = untrusted_file.read(f"/proc/{pid}/root{path}", LIMIT, follow=True)
        return data.decode(errors="replace")
    return None


def matching(pid: int, pattern: str) -> list[str]:
    """Give the process's files that a pattern names, as the process names them.

    The process may be anybody's: a pattern over whole trees is none that a configuration has.
    """
    if sum(glob.has_magic(part) for part in pattern.split("/")) > MOST_WILD:
        return []
    root = f"/proc/{pid}/root"
    found = itertools.islice(glob.iglob(f"{root}{pattern}"), MOST_FILES)  # noqa: PTH207
    return sorted(path.removeprefix(root) for path in found)


def software(owner: Socket) -> str:
    """Name the known software that a socket belongs to; empty = none that is known."""
    match owner.process:
        case "postgres" | "nginx":
            return owner.process
        case "mariadbd" | "mysqld":
            return "mariadb"
        case "redis-server" | "valkey-server":
            return "redis"
        case "master" if "postfix" in listeners.executable(owner.pid):
            return "postfix"
        case _:
            return ""


def option(command: tuple[str, ...], name: str) -> str:
    """Give a command line's value of `-D DIR`, `-DDIR` or `-c name=value`; empty = not there."""
    for index, word in enumerate(command):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word.startswith("--") and word[2:].startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name and index + 1 < len(command):
            return command[index + 1]
        if len(name) == 2 and word.startswith(name) and len(word) > 2:
            return word[2:]
    return ""


def working_folder(pid: int) -> str:
    """Give the folder that a process works in; empty where this user may not see it."""
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def ask_redis(address: str, port: int) -> bytes:
    """Ask a Redis whether its protected mode is on; empty where it does not say."""
    try:
        with socket.create_connection((address, port), timeout=_REDIS_SECONDS) as connection:
            connection.sendall(_REDIS_QUESTION)
            return connection.recv(256)
    except OSError:
        return b""
