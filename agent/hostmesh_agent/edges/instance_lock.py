"""One `join` or `leave` of an instance at a time.

Root's lock is a file that nobody else can open: whoever may read a folder may lock it, and could
keep root out for ever. An ordinary user has no place but the folder of its state.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from hostmesh_agent.edges.lock_file import NoRoom, cannot_take
from hostmesh_core.errors import Refused
from hostmesh_core.host_layout import HostLayout

WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.1


@contextmanager
def held(layout: HostLayout, *, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock; waits for another that is under way. Raises Refused.

    A join that was killed may have left the child that enrols: it holds the lock to its own end.
    Where there is no room for the file nobody else has it either: a leave then makes room.
    """
    own = os.geteuid() == 0
    path = layout.lifecycle_lock if own else layout.state_dir
    kind = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW if own else os.O_RDONLY | os.O_DIRECTORY
    try:
        descriptor = _locked(path, kind | os.O_CLOEXEC, say)
    except NoRoom as error:
        say(f"{error}; going on without it")
        yield
        return
    try:
        yield
    finally:
        if own:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108
        os.close(descriptor)


def _locked(path: str, kind: int, say: Callable[[str], None]) -> int:
    deadline, told = time.monotonic() + WAIT_SECONDS, False
    while True:
        descriptor = _opened(path, kind)
        if _takes(descriptor) and _is(descriptor, path):
            return descriptor
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise Refused(
                f"cannot go on: another join or leave of this instance is under way ({path}); "
                "wait for its end and try again"
            )
        if not told:
            told = True
            say("waiting for another join or leave of this instance to end")
        time.sleep(_POLL_SECONDS)


def _opened(path: str, kind: int) -> int:
    try:
        return os.open(path, kind, 0o600)
    except FileNotFoundError as error:
        raise Refused(
            f"cannot go on: a leave has removed {path} meanwhile; nothing was changed, run it again"
        ) from error
    except OSError as error:
        raise cannot_take(path, error) from error


def _takes(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is(descriptor: int, path: str) -> bool:
    """Whether it is still the one that was opened: its holder may have removed it."""
    try:
        now = os.stat(path, follow_symlinks=False)  # noqa: PTH116
    except OSError:
        return False
    return os.fstat(descriptor).st_ino == now.st_ino
