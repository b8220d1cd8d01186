"""Starts `run --all` so that it outlives whoever asked for it; hears what it says and notes."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hostmesh_agent.edges import folders
from hostmesh_core.errors import HostmeshError
from hostmesh_core.host_layout import HostLayout

LOG_BYTES = 10 * 1024 * 1024
"""A longer log is put aside at the next start."""
_SAID_BYTES = 4000


class CannotStart(HostmeshError):
    """`run --all` could not be started."""


def log_of(layout: HostLayout) -> Path:
    """Give where it logs: an ordinary user's log lies with its state."""
    if os.geteuid() == 0:
        return Path(layout.log_file)
    return Path(layout.state_dir) / "run.log"


def start(layout: HostLayout, options: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start it in a session of its own. Raises CannotStart."""
    log = log_of(layout)
    try:
        log.parent.mkdir(mode=0o755, exist_ok=True)
        with suppress(FileNotFoundError):
            if log.stat().st_size > LOG_BYTES:
                log.replace(log.with_name(f"{log.name}.1"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(log, flags, 0o640)
        with os.fdopen(descriptor, "ab") as output:
            return subprocess.Popen(  # noqa: S603  our own program
                (sys.executable, "-m", "hostmesh_agent.main", "run", "--all", *options),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    except OSError as error:
        raise CannotStart(f"cannot start run --all: {error.strerror} ({log})") from error


def recorded(layout: HostLayout) -> frozenset[int]:
    """Give the pids that a `run --all` has noted: it goes on with them if it is started again.

    Empty for those who may not read its folder.
    """
    found = set()
    for path in Path(folders.parent_dir(layout)).glob("*.json"):
        with suppress(OSError, ValueError, AttributeError):
            pid = json.loads(path.read_bytes()).get("pid")
            if isinstance(pid, int):
                found.add(pid)
    return frozenset(found)


def last_words(layout: HostLayout) -> str:
    """Give the last line that it wrote."""
    try:
        with log_of(layout).open("rb") as file:
            file.seek(max(0, log_of(layout).stat().st_size - _SAID_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return "nothing"
    return lines[-1] if lines else "nothing"
