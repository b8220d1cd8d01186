"""Runs the kernel's tools: absolute paths, argument lists, a time limit, never a shell."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hostmesh_core.errors import HostmeshError

FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
"""Where the tools may be; PATH is the caller's word and not asked."""
LIMIT_SECONDS = 20.0
_ENVIRONMENT = {"LC_ALL": "C", "PATH": ":".join(FOLDERS)}


class CannotRun(HostmeshError):
    """A tool is missing, failed or took too long; what it had to change may not have changed."""


class Kernel(Protocol):
    """What the engine needs of a kernel."""

    def has(self, program: str) -> bool:
        """Whether this tool is on the host."""

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        """Run a tool and give what it printed. Raises CannotRun."""


class Tools:
    """This host's own tools."""

    def __init__(self, held: Sequence[int] = ()) -> None:
        """`held`: file descriptors a child keeps open, such as a lock that must outlive us.

        It is read at each run: the caller may change it.
        """
        self._held = held
        self._paths: dict[str, str] = {}

    def has(self, program: str) -> bool:
        """Whether this tool is on the host."""
        return self._path(program) != ""

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        """Run a tool and give what it printed. Raises CannotRun."""
        path = self._path(argv[0])
        if not path:
            raise CannotRun(f"cannot run {argv[0]}: it is not installed in {':'.join(FOLDERS)}")
        try:
            done = subprocess.run(  # noqa: S603 - an absolute path and a list, no shell
                [path, *argv[1:]],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=LIMIT_SECONDS,
                env=_ENVIRONMENT,
                pass_fds=tuple(self._held),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CannotRun(f"cannot run {' '.join(argv)}: no end in {LIMIT_SECONDS} s") from error
        except OSError as error:
            raise CannotRun(f"cannot run {path}: {error.strerror}") from error
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())[:500]
            raise CannotRun(f"cannot run {' '.join(argv)}: status {done.returncode}: {said}")
        return done.stdout

    def _path(self, program: str) -> str:
        if program not in self._paths:
            found = (f"{folder}/{program}" for folder in FOLDERS)
            self._paths[program] = next((p for p in found if os.access(p, os.X_OK)), "")
        return self._paths[program]


def loaded_legacy_tables(family_file: str) -> frozenset[str]:
    """Name the tables of legacy iptables that are loaded; asking its own tool would load them.

    `family_file` is /proc/net/ip_tables_names or its IPv6 counterpart.
    """
    try:
        return frozenset(Path(family_file).read_text().split())
    except OSError:
        return frozenset()
