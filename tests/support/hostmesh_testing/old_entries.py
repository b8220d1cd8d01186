"""Leaves conntrack entries behind and meets them again: run as a program in a lab host.

`old_entries.py reset PORT` answers a byte with a reset; any other connection gets `app` and an end.
`old_entries.py leave SOURCE PORT ADDRESS PORT` makes a connection that the peer resets (or, where
nothing answers, one that is given up) and prints how it ended.
`old_entries.py meet SOURCE PORT ADDRESS PORT` connects from the same port and prints what came.
"""

import contextlib
import errno
import socket
import struct
import sys
import threading
from pathlib import Path

PATH = str(Path(__file__))
GIVE_UP_SECONDS = 1.5
PATIENCE_SECONDS = 30.0
_ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER: close with a reset."""


def _serve_one(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        if connection.recv(1) == b"x":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        else:
            connection.sendall(b"app\n")


def reset(port: int) -> None:
    """Serve for ever."""
    server = socket.create_server(
        ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=50
    )
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_serve_one, args=(connection,), daemon=True).start()


def connect(source: tuple[str, int], target: tuple[str, int], said: bytes, seconds: float) -> str:
    """Connect, say something, and give what came or the name of what went wrong."""
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as calling:
        calling.settimeout(seconds)
        calling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            calling.bind(source)
            calling.connect(target)
            calling.sendall(said)
            return calling.makefile().readline().strip()
        except TimeoutError:
            return "timeout"
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error))


def main(verb: str, *words: str) -> None:
    """Run one verb."""
    if verb == "reset":
        reset(int(words[0]))
        return
    source, target = (words[0], int(words[1])), (words[2], int(words[3]))
    leave = verb == "leave"
    seconds = GIVE_UP_SECONDS if leave else PATIENCE_SECONDS
    sys.stdout.write(connect(source, target, b"x" if leave else b"y", seconds) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
