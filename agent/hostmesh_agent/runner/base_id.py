"""Envoy's base-id: the first number that no other Envoy of this machine has.

Envoy names its shared memory after it (/dev/shm/envoy_shared_memory_<ten times the number>) and
takes away whatever has that name, so two of one number silently replace each other's. Each runner
therefore holds a lock file beside it. Shared memory beside a lock that nobody holds is what a dead
runner left, for its Envoys ended with it; shared memory without one is a stranger's, and passed.
"""

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass

from hostmesh_core.errors import Refused

SHARED_MEMORY = "/dev/shm"  # noqa: S108  the kernel's, where Envoy itself puts it
LIMIT = 1000


@dataclass(frozen=True, slots=True)
class BaseId:
    """A number, and the lock that keeps it ours for as long as this process lives."""

    number: int
    lock: int
    """File descriptor."""


def claim(state_file: str, *, folder: str = SHARED_MEMORY) -> BaseId:
    """Take the number kept in `state_file` again, else the first free one, and keep that.

    Raises Refused where none of the first 1000 is free.
    """
    kept = _kept(state_file)
    for number in ([kept] if kept is not None else []) + list(range(LIMIT)):
        known = number == kept or os.path.lexists(_lock_path(folder, number))
        lock = _lock(_lock_path(folder, number))
        if lock is None:
            continue
        if _is_free(_memory_path(folder, number), known=known):
            _keep(state_file, number)
            return BaseId(number, lock)
        os.close(lock)
    raise Refused(f"cannot find a free base-id for Envoy below {LIMIT}: see {folder}")


def release(base_id: BaseId, *, folder: str = SHARED_MEMORY) -> None:
    """Take the shared memory away that Envoy leaves; the lock ends with this process."""
    with suppress(OSError):
        os.unlink(_memory_path(folder, base_id.number))  # noqa: PTH108


def _lock_path(folder: str, number: int) -> str:
    return f"{folder}/hostmesh_base_id_{number}"


def _memory_path(folder: str, number: int) -> str:
    return f"{folder}/envoy_shared_memory_{number * 10}"


def _is_free(memory: str, *, known: bool) -> bool:
    """Whether Envoy can have the number: no shared memory, or what a dead runner of ours left."""
    try:
        about = os.lstat(memory)
    except OSError:
        return True
    return known and about.st_uid == os.geteuid()


def _lock(path: str) -> int | None:
    """Lock the file, or None where another runner has it, or somebody else made it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A leave takes the file away under its lock: one that is gone keeps nobody out.
        if os.fstat(descriptor).st_ino == os.lstat(path).st_ino:
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _kept(state_file: str) -> int | None:
    with suppress(OSError, ValueError), open(state_file, encoding="utf-8") as file:  # noqa: PTH123
        number = int(file.read(16))
        return number if 0 <= number < LIMIT else None
    return None


def _keep(state_file: str, number: int) -> None:
    new = f"{state_file}.new"
    with open(new, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(f"{number}\n")
    os.replace(new, state_file)  # noqa: PTH105
