"""Holds on to the Envoy that the agent names, and asks it itself whether it serves.

The agent's word alone keeps no rule in: a pidfd tells of Envoy's end at once and cannot mean
another process, and the readiness listener is answered by Envoy's own workers.
"""

import os
import select
import socket
import time
from pathlib import Path

from hostmesh_agent.edges.worker_time import WorkerTime
from hostmesh_core.envoy_silence import ANSWER_SECONDS
from hostmesh_core.redirect_files import EnvoyProcess

_REQUEST = b"GET /healthz/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Held:
    """One process, held by pidfd. `pidfd` is readable when it has ended."""

    def __init__(self, envoy: EnvoyProcess, pidfd: int) -> None:
        self.envoy = envoy
        self.pidfd = pidfd
        self.worker_time = WorkerTime(envoy.pid)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return not select.select([self.pidfd], [], [], 0)[0]

    def close(self) -> None:
        """Let go of it."""
        os.close(self.pidfd)


def hold(envoy: EnvoyProcess, proxy_uid: int) -> Held | None:
    """Take hold of a process; None where it is gone, or is not the proxy user's.

    The pid is checked after the pidfd is open: from then on it cannot be anybody else's.
    """
    try:
        pidfd = os.pidfd_open(envoy.pid)
    except OSError:
        return None
    if _is_it(envoy, proxy_uid):
        return Held(envoy, pidfd)
    os.close(pidfd)
    return None


def started(pid: int) -> int:
    """Give a process's start in clock ticks since boot; 0 where it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The second field is the command in parentheses and may hold anything, spaces included.
    return int(text.rpartition(")")[2].split()[19])


def _is_it(envoy: EnvoyProcess, proxy_uid: int) -> bool:
    try:
        status = Path(f"/proc/{envoy.pid}/status").read_text()
    except OSError:
        return False
    # Not the folder's owner: that is root for a process that carries a capability.
    owner = next(int(line.split()[2]) for line in status.splitlines() if line.startswith("Uid:"))
    return owner == proxy_uid and envoy.started in (0, started(envoy.pid))


class Question:
    """One question to the listener 127.0.0.1:`port`; its answer is waited for in many looks."""

    def __init__(self, port: int) -> None:
        self._asking = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._asked = False
        self._asking.connect_ex(("127.0.0.1", port))

    def look(self, held: Held | None, seconds: float) -> bool | None:
        """Wait at most `seconds`, or until `held` ends.

        True for status 200, None while there is no answer; what is refused and any other answer
        is False, and so is the end of `held`.
        """
        until = time.monotonic() + seconds
        while True:
            ended, ready = self._wait(held, max(0.0, until - time.monotonic()))
            if ended:
                return False
            if not ready:
                return None
            try:
                if self._asked:
                    return self._asking.recv(64).split(b" ")[1:2] == [b"200"]
                self._asking.sendall(_REQUEST)
            except OSError:
                return False
            self._asked = True

    def close(self) -> None:
        """Let the connection go."""
        self._asking.close()

    def _wait(self, held: Held | None, seconds: float) -> tuple[bool, bool]:
        watched: list[socket.socket | int] = [] if held is None else [held.pidfd]
        hearing, sending = ([self._asking], []) if self._asked else ([], [self._asking])
        readable, writable, _ = select.select([*watched, *hearing], sending, [], seconds)
        ended = held is not None and held.pidfd in readable
        return ended, bool(writable) or self._asking in readable


def answers(port: int, held: Held | None = None, timeout_seconds: float = ANSWER_SECONDS) -> bool:
    """Ask 127.0.0.1:`port`; True for status 200. Returns at once when `held` ends."""
    question = Question(port)
    try:
        return question.look(held, timeout_seconds) is True
    finally:
        question.close()
