"""One `join` or `leave` of an instance at a time: a lock on its state folder."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hostmesh_core.errors import Refused

WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.1


@contextmanager
def held(folder: str, *, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock; waits for another that is under way. Raises Refused, OSError.

    A join that was killed may have left the child that enrols: it holds the lock to its own end.
    """
    descriptor = _locked(folder, say)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(folder: str, say: Callable[[str], None]) -> int:
    deadline, told = time.monotonic() + WAIT_SECONDS, False
    while True:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if _takes(descriptor) and _is(descriptor, folder):
            return descriptor
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise Refused(
                f"cannot go on: another join or leave of this instance is under way ({folder}); "
                "wait for its end and try again"
            )
        if not told:
            told = True
            say("waiting for another join or leave of this instance to end")
        time.sleep(_POLL_SECONDS)


def _takes(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is(descriptor: int, folder: str) -> bool:
    """Whether the folder is still the one that was opened: a leave may have removed it."""
    try:
        now = os.stat(folder)  # noqa: PTH116
    except OSError:
        return False
    return os.fstat(descriptor).st_ino == now.st_ino
