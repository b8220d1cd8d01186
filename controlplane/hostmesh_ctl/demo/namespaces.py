"""A set of namespaces and the process that holds them: the shell of a lab host."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hostmesh_core.errors import HostmeshError
from hostmesh_ctl.demo.processes import child_of

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")


class LabUnavailable(HostmeshError):
    """This machine cannot make lab hosts; the text says what is missing."""


class Holder:
    """A set of namespaces and the process that keeps them."""

    def __init__(self, hostname: str, exposed: Sequence[Path], log: Path) -> None:
        wanted = {"hostname": hostname, "expose": [str(path) for path in exposed]}
        argv = ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc"]
        argv += [sys.executable, "-P", "-m", "hostmesh_ctl.demo.holder", json.dumps(wanted)]
        with log.open("wb") as errors:
            self._outer = subprocess.Popen(  # noqa: S603 - fixed words and our own module
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the lab's owner, who ends hosts in order
                env={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"},
            )
        assert self._outer.stdout is not None  # noqa: S101 - asked for above
        if self._outer.stdout.readline() != b"ready\n":
            self._outer.kill()
            self._outer.wait()
            raise LabUnavailable(f"cannot make host {hostname}: {log.read_text().strip()[-500:]}")
        self.pid = child_of(self._outer.pid)

    def enter(self, *, network_only: bool = False) -> list[str]:
        """Give the words that run what follows them inside."""
        kinds = ("--net",) if network_only else NAMESPACES
        return ["nsenter", f"--target={self.pid}", *kinds, "--"]

    def keep(self) -> None:
        """Let it outlive this process."""
        with contextlib.suppress(OSError):
            os.write(self._control, b"keep\n")

    def close(self) -> None:
        """End every process inside, and with them the namespaces."""
        with contextlib.suppress(OSError):
            self._pipes_close()
        try:
            self._outer.wait(5.0)
        except subprocess.TimeoutExpired:
            self._outer.kill()  # takes the inner one along (--kill-child)
            self._outer.wait()

    @property
    def _control(self) -> int:
        assert self._outer.stdin is not None  # noqa: S101 - asked for in __init__
        return self._outer.stdin.fileno()

    def _pipes_close(self) -> None:
        for pipe in (self._outer.stdin, self._outer.stdout):
            if pipe is not None:
                pipe.close()
