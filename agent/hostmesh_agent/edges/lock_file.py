"""One process of a kind at a time: a lock that ends with its holder, however that ends."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hostmesh_core.errors import Refused

CHANGE = "reload or leave of this instance"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class NoRoom(Refused):
    """The file is not there and cannot be made: nobody has the lock, and nobody can take it."""


def hold(path: str, *, what: str) -> int:
    """Take the lock for this process's life; gives the file descriptor.

    Raises NoRoom, Refused, PermissionError.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except PermissionError:
        raise
    except OSError as error:
        raise cannot_take(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(descriptor, 16).decode(errors="replace").strip()
        os.close(descriptor)
        raise Refused(f"cannot start: another {what} runs already (pid {owner}, {path})") from error
    with suppress(OSError):  # a full /run: the number is for people, and its lack ends nothing
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def cannot_take(path: str, error: OSError) -> Refused:
    """Give what to raise where a lock's file can be neither opened nor made: NoRoom or Refused."""
    kind = NoRoom if error.errno in _FULL else Refused
    return kind(f"cannot take the lock {path}: {error.strerror}")


@contextmanager
def held(path: str, *, what: str) -> Iterator[None]:
    """Have the lock within a block. Raises what `hold` raises."""
    descriptor = hold(path, what=what)
    try:
        yield
    finally:
        os.close(descriptor)
