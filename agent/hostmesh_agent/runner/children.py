"""Envoy as a child process: spawned, signalled, reaped. Two at most, consecutive epochs."""

import os
import signal
import stat
import subprocess
import sys
from collections import deque
from dataclasses import dataclass

from hostmesh_agent.edges.death import die_with
from hostmesh_agent.runner import orders
from hostmesh_core.errors import Refused
from hostmesh_core.runner_file import RunnerSettings

MAX_KEPT_EXITS = 64
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/"}
"""All that Envoy gets: no proxy settings, no secrets of whoever started the runner."""


@dataclass(frozen=True, slots=True)
class Child:
    """One Envoy that lives."""

    epoch: int
    pid: int
    started: int
    """Clock ticks since boot (field 22 of /proc/<pid>/stat): with the pid, it is this very one."""
    config: str
    pidfd: int
    """Readable when it has ended."""

    def told(self) -> dict[str, object]:
        """Give what clients are told."""
        return {
            "epoch": self.epoch,
            "pid": self.pid,
            "started": self.started,
            "config": self.config,
        }


class Children:
    """The Envoys of this runner and the exits that nobody has acknowledged yet."""

    def __init__(self, settings: RunnerSettings, base_id: int) -> None:
        self._settings = settings
        self._base_id = base_id
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.alive: list[Child] = []
        """Oldest first."""
        self.exits: deque[dict[str, int]] = deque(maxlen=MAX_KEPT_EXITS)

    def start(self, order: orders.Start) -> Child:
        """Start Envoy. Raises Refused, with nothing started."""
        self._check_epoch(order.epoch)
        self._check_config(order.config)
        argv = orders.command_line(self._settings, self._base_id, order)
        parent = os.getpid()
        try:
            process = subprocess.Popen(  # noqa: S603  argv comes from runner.json, see orders
                argv,
                env=ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                stderr=sys.stderr.fileno(),
                start_new_session=True,  # a terminal's Ctrl-C is for the runner, not for Envoy
                preexec_fn=lambda: die_with(parent),  # there is one thread only
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Refused(f"cannot start {self._settings.binary}: {error}") from error
        child = Child(
            epoch=order.epoch,
            pid=process.pid,
            started=_started(process.pid),
            config=order.config,
            pidfd=os.pidfd_open(process.pid),
        )
        self._processes[process.pid] = process
        self.alive.append(child)
        return child

    def _check_epoch(self, epoch: int) -> None:
        expected = self.alive[-1].epoch + 1 if self.alive else 0
        if len(self.alive) > 1:
            raise Refused(f"cannot start epoch {epoch}: two Envoys live already")
        if epoch != expected:
            raise Refused(f"cannot start epoch {epoch}: the next one is {expected}")

    def _check_config(self, name: str) -> None:
        path = f"{self._settings.bootstrap_dir}/{name}"
        try:
            mode = os.lstat(path).st_mode
        except OSError as error:
            raise Refused(f"cannot start with {path}: {error.strerror}") from error
        if not stat.S_ISREG(mode):
            raise Refused(f"cannot start with {path}: not a regular file")

    def kill(self, order: orders.Kill) -> None:
        """Signal the Envoy of this epoch. Raises Refused where none lives."""
        for child in self.alive:
            if child.epoch == order.epoch:
                self.send(child, signal.SIGTERM if order.signal == "TERM" else signal.SIGKILL)
                return
        raise Refused(f"cannot signal epoch {order.epoch}: no such Envoy lives")

    def send(self, child: Child, number: signal.Signals) -> None:
        """Signal this very process; one that has just ended is not an error."""
        try:
            signal.pidfd_send_signal(child.pidfd, number)
        except ProcessLookupError:
            return

    def reap(self, child: Child) -> dict[str, int]:
        """Take the exit of a child whose pidfd is readable, and keep it until acknowledged."""
        code = self._processes.pop(child.pid).wait()
        os.close(child.pidfd)
        self.alive.remove(child)
        exited = {"epoch": child.epoch, "pid": child.pid, "code": code}
        self.exits.append(exited)
        return exited

    def acknowledge(self, pid: int) -> None:
        """Forget the exit of this process."""
        for exited in [exited for exited in self.exits if exited["pid"] == pid]:
            self.exits.remove(exited)


def _started(pid: int) -> int:
    """Give a process's start time; it is our child, so it is there until it is reaped."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        return int(file.read().rpartition(")")[2].split()[19])
