"""Starts a process in a session of its own, as the user it is for, and finds it again later."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass

from hostmesh_agent.edges.users import PR_SET_NO_NEW_PRIVS, User
from hostmesh_core.errors import BadInput

_KEPT = ("PATH", "LANG", "TZ", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR")
_KEPT_PREFIXES = ("LC_", "PYTHON", "HOSTMESH_", "GRPC_")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Program:
    """One of the processes to keep running."""

    name: str
    argv: tuple[str, ...]
    user: User | None
    """None = stay who we are."""
    record: str
    """Where its pid is kept, so that the next parent finds it."""
    socket: str = ""
    """A living one answers here; empty = it has none."""


def own(*arguments: str) -> tuple[str, ...]:
    """Give the command line of one of hostmesh-agent's own programs."""
    return (sys.executable, "-m", "hostmesh_agent.main", *arguments)


@dataclass(frozen=True, slots=True)
class Running:
    """A living process, ours or one that an earlier parent started."""

    pid: int
    pidfd: int
    child: "subprocess.Popen[bytes] | None"
    """None where an earlier parent started it: its exit status is not ours to read."""

    def signal(self, number: signal.Signals) -> None:
        """Signal this very process; one that has ended is not an error."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> int | None:
        """Take the exit status of an ended process; None where it is not known."""
        os.close(self.pidfd)
        return None if self.child is None else self.child.wait()


def start(program: Program) -> Running:
    """Start a program and keep its pid. Raises OSError."""
    child = _spawn(program.argv, program.user)
    kept = {"pid": child.pid, "started": _started(child.pid), "argv": program.argv}
    _write(program.record, json.dumps(kept))
    return Running(child.pid, os.pidfd_open(child.pid), child)


def aside(argv: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    """Start something that nobody keeps running; it says on our output what it does."""
    return _spawn(argv, None)


def check_reach(user: User) -> None:
    """Raise BadInput where `user` cannot read this very installation (in somebody's home, say)."""
    try:
        status = _spawn(
            (sys.executable, "-c", "import hostmesh_agent.main"), user, quiet=True
        ).wait()
    except PermissionError:
        status = 1
    if status != 0:
        interpreter = os.path.realpath(sys.executable)
        raise BadInput(
            f"cannot run as uid {user.uid}: that user cannot read {interpreter} and what belongs "
            f"to it ({sys.prefix}); install Hostmesh where everybody can read it, such as "
            "/opt/hostmesh"
        )


def _spawn(
    argv: tuple[str, ...], user: User | None, *, quiet: bool = False
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603  our own program
        argv,
        env=environment(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if quiet else None,
        start_new_session=True,  # it outlives us, and the terminal's Ctrl-C is for us alone
        preexec_fn=_no_new_privileges if user is not None else None,
        user=None if user is None else user.uid,
        group=None if user is None else user.gid,
        extra_groups=None if user is None else [],
    )


def find(program: Program) -> Running | None:
    """Find the program where an earlier parent started it and it lives; the very same process."""
    kept = _read(program.record)
    if kept is None:
        return None
    pid, started = kept.get("pid"), kept.get("started")
    if not isinstance(pid, int) or pid <= 0:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    with suppress(OSError, ValueError):  # gone between the two looks
        if _started(pid) == started:
            return Running(pid, pidfd, None)
    os.close(pidfd)
    return None


def is_as_wanted(program: Program) -> bool:
    """Tell whether what runs was started with today's command line."""
    kept = _read(program.record)
    return kept is not None and kept.get("argv") == list(program.argv)


def forget(program: Program) -> None:
    """Its process has ended: a later one of that pid is a stranger."""
    with suppress(OSError):
        os.unlink(program.record)  # noqa: PTH108


def environment() -> dict[str, str]:
    """Give what children may inherit: no proxy settings, nothing exported by chance."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    return {"HOME": "/", **kept}


def _no_new_privileges() -> None:
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        os._exit(1)


def _started(pid: int) -> int:
    """Give a process's start time in clock ticks since boot. Raises OSError, ValueError."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        raise ValueError(f"pid {pid} has ended")
    return int(fields[19])


def _read(path: str) -> dict[str, object] | None:
    """Read a record; None where it is not there or damaged."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            kept = json.loads(file.read(65536))
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) else None


def _write(path: str, text: str) -> None:
    new = f"{path}.new"
    with open(new, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
    os.replace(new, path)  # noqa: PTH105
