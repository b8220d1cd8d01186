"""A process that runs in a lab host, as the lab holds it."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def start_ticks(pid: int) -> int:
    """Give when `pid` started, in the kernel's ticks; 0 = no such process (or a zombie).

    A pid alone may be somebody else's by now; with its start it is not.
    """
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return 0
    return 0 if after_name[0] in "ZX" else int(after_name[19])


def child_of(pid: int, *, seconds: float = 5.0) -> int:
    """Give the only child of `pid`, waiting until it is there; 0 = `pid` ended without one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and start_ticks(pid):
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            children = []
        if children:
            return int(children[0])
        time.sleep(0.005)
    return 0


def words_of(pid: int) -> list[str]:
    """Give the command line of `pid`; empty = it is gone, or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def inside(holder: int, words: Sequence[str]) -> list[int]:
    """Give the processes of a host whose command line has all `words`, the oldest first.

    A word is the end of an argument: `hostmesh-agent` finds /usr/bin/hostmesh-agent.
    """
    mine = _namespace(holder)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        started = start_ticks(pid)
        if started and _has(words_of(pid), words) and _namespace(pid) == mine:
            found.append((started, pid))
    return [pid for _, pid in sorted(found)]


def _has(line: Sequence[str], words: Sequence[str]) -> bool:
    return all(any(part.endswith(word) for part in line) for word in words)


def _namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; nothing happens if the process has ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


class Running:
    """One background process of a host; its output is in `log`."""

    def __init__(self, name: str, outer: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._outer = outer
        self.pid = child_of(outer.pid)
        """As the machine numbers it; inside the host it has another number."""

    @property
    def alive(self) -> bool:
        """Tell whether it still runs."""
        return self._outer.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        if self.alive and self.pid:
            send(self.pid, number)
            if number == signal.SIGCONT:
                send(self._outer.pid, number)  # nsenter stops itself when what it entered stops

    def wait(self, seconds: float) -> int | None:
        """Wait for its end and give its exit status; None = it still runs after `seconds`."""
        try:
            return self._outer.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, *, seconds: float = 10.0) -> int | None:
        """TERM, then KILL after `seconds`; give its exit status."""
        self.signal(signal.SIGTERM)
        if self.wait(seconds) is None:
            self.signal(signal.SIGKILL)
        return self.wait(5.0)

    def reap(self) -> None:
        """Take in the end of a process whose host is gone."""
        send(self._outer.pid, signal.SIGCONT)
        if self.wait(2.0) is None:
            self._outer.kill()
            self._outer.wait()

    def said(self) -> str:
        """Give all that it has written so far."""
        return self.log.read_text(errors="replace")
