"""Keeps Envoy's ports from other users for as long as the runner lives, Envoy or no Envoy.

The kernel's rules lead connections to these ports; whoever else listened there while Envoy is away
would be given them. A socket that is bound and does not listen is enough: the kernel answers with
RST as if nobody were there, an Envoy of this user binds beside it (SO_REUSEPORT: all of one user,
socket(7)), and anybody else is refused.
"""

import socket
from collections.abc import Iterable

_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104  nothing listens here


def hold(ports: Iterable[int]) -> tuple[list[socket.socket], list[str]]:
    """Bind each port in both families; gives the sockets, and what could not be kept and why.

    A host without IPv6 has nothing to keep there.
    """
    held, problems = [], []
    for port in ports:
        for family, address in _ANY.items():
            try:
                held.append(_bound(family, address, port))
            except _NoFamily:
                continue
            except OSError as error:
                problems.append(f"{address}:{port}: {error.strerror}")
    return held, problems


class _NoFamily(Exception):
    """This host does not speak it."""


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _NoFamily from error
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Never SO_REUSEADDR: with it, another that asks for it too may bind beside us.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made
