"""Hears which connections the guard has stopped, and has conntrack forget the entries they met.

The SYN that TCP sends again a second later then begins a new entry, and is redirected. One socket
per log group and network namespace; everything is bounded, since what is logged is made by whoever
opens connections.
"""

import os
import select
import socket

from hostmesh_agent.redirector import flow
from hostmesh_agent.redirector.netlink_message import NETFILTER

TURN_SECONDS = 0.1
"""Between two readings: nobody keeps this process busy by opening connections."""
MOST_PER_TURN = 64
"""Datagrams of one reading; what is left over is sent again by TCP, and logged again."""
BUFFER_BYTES = 256 * 1024
AGAIN_SECONDS = 5.0
ANSWER_SECONDS = 1.0
_DATAGRAM_BYTES = 1 << 16


class Strays:
    """The guard's ear of one instance."""

    def __init__(self, group: int) -> None:
        """Nothing is opened before `listen`."""
        self._group = group
        self._hearing: socket.socket | None = None
        self._next_try = 0.0
        self._next_turn = 0.0
        self.turned = 0
        """Connections whose old entry was forgotten."""
        self.problem = ""
        """Why the guard is not heard, or "" where it is."""

    def listen(self, now: float) -> None:
        """Begin to hear, unless that is so; `now` in seconds of the monotonic clock."""
        if self._hearing is not None or now < self._next_try:
            return
        self._next_try = now + AGAIN_SECONDS
        try:
            self._hearing = _open(self._group)
            self.problem = ""
        except OSError as error:
            self.problem = (
                f"cannot hear the guard in log group {self._group}: {error.strerror}; a connection "
                "that it stops waits until the kernel has forgotten the old one"
            )

    def waiting(self, now: float) -> list[socket.socket]:
        """Give what to wait for: nothing until the next reading is due."""
        due = self._hearing is not None and now >= self._next_turn
        return [self._hearing] if due and self._hearing else []

    def turn(self, now: float) -> int:
        """Have the entries forgotten that were met since; gives how many."""
        if self._hearing is None or now < self._next_turn:
            return 0
        self._next_turn = now + TURN_SECONDS
        met = {each for data in _read(self._hearing) for each in flow.logged(data)}
        forgotten = _forget(met) if met else 0
        self.turned += forgotten
        return forgotten

    def close(self) -> None:
        """Stop hearing."""
        if self._hearing is not None:
            self._hearing.close()
        self._hearing, self._next_try = None, 0.0


def _open(group: int) -> socket.socket:
    """Bind to a log group. Raises OSError."""
    hearing = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETFILTER)
    try:
        hearing.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        hearing.bind((0, 0))
        hearing.send(flow.listen(group))
        select.select([hearing], [], [], ANSWER_SECONDS)
        answer = hearing.recv(_DATAGRAM_BYTES)
        if not flow.done(answer):
            code = flow.refusal(answer)
            raise OSError(code, os.strerror(code))
    except OSError:
        hearing.close()
        raise
    return hearing


def _read(hearing: socket.socket) -> list[bytes]:
    found = []
    for _ in range(MOST_PER_TURN):
        try:
            data, (sender, _) = hearing.recvfrom(_DATAGRAM_BYTES)
        except BlockingIOError:
            break
        except OSError:  # overrun: what was lost is sent again by TCP, and logged again
            continue
        if sender == 0:  # the kernel
            found.append(data)
    return found


def _forget(met: set[flow.Flow]) -> int:
    """Delete each flow's entry that nobody has redirected; gives how many there were.

    By the entry's own identity: a redirected one may have taken its place, and to lose that would
    break the connection that is to be helped.
    """
    forgotten = 0
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as asking:
            asking.settimeout(ANSWER_SECONDS)
            asking.bind((0, 0))
            for each in met:
                asking.send(flow.ask(each))
                known = flow.entry(asking.recv(_DATAGRAM_BYTES))
                if known is not None and not known.redirected:
                    asking.send(flow.forget(each, known))
                    forgotten += flow.done(asking.recv(_DATAGRAM_BYTES))
    except OSError:
        return forgotten
    return forgotten
