"""The redirector's own files: reading what others wrote, writing whole files by rename."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hostmesh_core.capture_plan import FILE_LIMIT
from hostmesh_core.errors import HostmeshError

T = TypeVar("T")
NOWHERE = (0, 0, 0)
"""The stamp of a file that is not there."""


class CannotUseFile(HostmeshError):
    """A file of ours cannot be read or written."""


def read(path: str) -> bytes | None:
    """Give a file's bytes, cut above the limit; None where there is none. Raises CannotUseFile.

    Some lie in a folder of a less trusted user's: a link could lead root to somebody's secrets, and
    a pipe could keep it waiting for ever.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotUseFile(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CannotUseFile(f"cannot read {path}: it is no regular file")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(FILE_LIMIT + 1)


def parsed(path: str, decode: Callable[[bytes], T]) -> T | None:
    """Give a file's content through `decode`; None where there is none.

    Raises CannotUseFile, and whatever `decode` raises.
    """
    data = read(path)
    return None if data is None else decode(data)


def write(path: str, data: bytes, *, mode: int) -> None:
    """Put `data` at `path` in one rename, its folder made if need be. Raises CannotUseFile."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise CannotUseFile(f"cannot write {path}: {error.strerror}") from error


def remove(path: str) -> None:
    """Take a file away; nothing where there is none. Raises CannotUseFile."""
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise CannotUseFile(f"cannot remove {path}: {error.strerror}") from error


def switch_off(marker: str, plan: str) -> None:
    """Note that `redirect remove` holds for the plan that is there now. Raises CannotUseFile."""
    write(marker, _stamp_text(plan), mode=0o644)


def is_switched_off(marker: str, plan: str) -> bool:
    """Whether `redirect remove` holds: until `apply`, a later `capture compile`, or a boot.

    Later means another file, not a later time: clocks are set back.
    """
    try:
        return read(marker) == _stamp_text(plan)
    except CannotUseFile:
        return True  # it is there; an operator's word is not lost by our not reading it


def _stamp_text(path: str) -> bytes:
    return " ".join(map(str, stamp(path))).encode() + b"\n"


def stamp(path: str) -> tuple[int, int, int]:
    """Give what changes when a file is replaced; all 0 where there is none."""
    try:
        found = Path(path).lstat()
    except OSError:
        return NOWHERE
    return found.st_ino, found.st_mtime_ns, found.st_size
