"""A process that runs in a lab host, as the lab holds it."""

import os
import signal
import subprocess
import time
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
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

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

    def said(self) -> str:
        """Give all that it has written so far."""
        return self.log.read_text(errors="replace")
