"""Empties and removes folders whose owner may be at work in them, against whoever removes them.

Such an owner can fill a folder as fast as it is emptied, put a link where a folder was, or nest
folders deeper than any recursion goes. So root takes each folder over before it looks into it:
from then on its former owner can make nothing there, not even through a descriptor that it has
open. What is nested is brought up beside the outermost, so that two descriptors suffice.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: str) -> None:
    """Remove a folder with all that is in it. Raises OSError."""
    with _opened(path) as top:
        _empty(top)
    os.rmdir(path)  # noqa: PTH106


def empty(path: str) -> None:
    """Remove all that is in a folder; it stays, with its owner and mode. Raises OSError."""
    with _opened(path) as top:
        before = os.fstat(top)
        _empty(top)
        if os.geteuid() == 0:
            os.fchown(top, before.st_uid, before.st_gid)
            os.fchmod(top, stat.S_IMODE(before.st_mode))


@contextmanager
def _opened(path: str, *, within: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, _FOLDER, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take_over(descriptor: int) -> None:
    if os.geteuid() == 0:  # an ordinary user's folders are its own already
        os.fchown(descriptor, 0, 0)
        os.fchmod(descriptor, 0o700)


def _empty(top: int) -> None:
    _take_over(top)
    while names := os.listdir(top):
        fresh = _fresh(set(names))
        for name in names:
            if _unlinked(name, top):
                continue
            with _opened(name, within=top) as inner:
                _bring_up(inner, top, fresh)
            os.rmdir(name, dir_fd=top)


def _bring_up(inner: int, top: int, fresh: Iterator[str]) -> None:
    """Empty one folder: files go, folders move to the outermost one."""
    _take_over(inner)
    for name in os.listdir(inner):
        if not _unlinked(name, inner):
            os.rename(name, next(fresh), src_dir_fd=inner, dst_dir_fd=top)


def _fresh(there: set[str]) -> Iterator[str]:
    """Give names that nothing has."""
    number = 0
    while True:
        number += 1
        if str(number) not in there:
            yield str(number)


def _unlinked(name: str, folder: int) -> bool:
    """Remove what is no folder; False = it is one."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        return False
    return True
