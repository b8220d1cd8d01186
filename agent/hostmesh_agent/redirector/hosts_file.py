"""Writes /etc/hosts: by rename, and in place where that cannot be.

A rename onto a bind mount gives EBUSY (containers, `ip netns exec`); there the new bytes are
written over the old ones, after a journal with both has been kept, so that a writer that is killed
half-way is finished by the next one. On a full disk what is shorter goes the same way, if need be
without a journal.
"""

import base64
import errno
import json
import os
import stat
from pathlib import Path

from hostmesh_core.errors import HostmeshError

HOSTS = "/etc/hosts"
_FULL = (errno.ENOSPC, errno.EDQUOT)
LIMIT = 16 << 20
"""Bytes above which this is no hosts file that we should rewrite."""


class CannotWriteHosts(HostmeshError):
    """The file could not be read or written; it is as it was."""


def read(path: str) -> bytes | None:
    """Give the file's bytes; None where there is no file. Raises CannotWriteHosts."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotWriteHosts(f"cannot read {path}: {error.strerror}") from error
    if len(content) > LIMIT:
        raise CannotWriteHosts(f"cannot use {path}: it has more than {LIMIT} bytes")
    return content


def write(path: str, old: bytes | None, new: bytes, journal: str) -> None:
    """Put `new` where `old` is. The caller holds the redirector's lock.

    `journal`: a file of ours for the case that it has to be written in place. Raises
    CannotWriteHosts, also where the file is no longer what was read: the next pass tries again.
    """
    real = os.path.realpath(path)
    try:
        if read(real) != old:
            raise CannotWriteHosts(f"cannot write {path}: somebody else is changing it; again soon")
        _replace(real, new, journal)
    except OSError as error:
        raise CannotWriteHosts(f"cannot write {path}: {error.strerror}") from error


def recover(path: str, journal: str) -> None:
    """Finish, or clear away, a write that was cut short. Raises CannotWriteHosts."""
    Path(_temporary(os.path.realpath(path))).unlink(missing_ok=True)
    kept = read(journal)
    if kept is None:
        return
    try:
        old, new = (base64.b64decode(text) for text in json.loads(kept))
        if _is_torn(read(os.path.realpath(path)) or b"", old, new):
            _write_over(os.path.realpath(path), new)
        Path(journal).unlink()
    except (OSError, ValueError) as error:
        raise CannotWriteHosts(f"cannot finish writing {path} from {journal}: {error}") from error


def _is_torn(content: bytes, old: bytes, new: bytes) -> bool:
    """Whether `content` is the beginning of `new` followed by the rest of `old`."""
    if content in (old, new):
        return False
    shorter = min(len(content), len(new))
    same = next((i for i in range(shorter) if content[i] != new[i]), shorter)
    return content[same:] == old[same:]


def _replace(real: str, new: bytes, journal: str) -> None:
    temporary = _temporary(real)
    Path(temporary).unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(new)
            file.flush()
            _copy_owner(real, file.fileno())
            os.fsync(file.fileno())
        Path(temporary).replace(real)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        no_room = error.errno in _FULL and _is_shorter(new, real)
        if not no_room and error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        _in_place(real, new, journal)


def _is_shorter(new: bytes, real: str) -> bool:
    """Tell what fits where the old one was: a full disk must not keep the block in."""
    return len(new) < Path(real).stat().st_size


def _temporary(real: str) -> str:
    return f"{real}.hostmesh-new"


def _copy_owner(real: str, descriptor: int) -> None:
    """Give the new file the old one's mode, owner and labels (SELinux)."""
    try:
        found = Path(real).stat()
    except FileNotFoundError:
        os.fchmod(descriptor, 0o644)
        return
    os.fchown(descriptor, found.st_uid, found.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
    for name in os.listxattr(real):
        os.setxattr(descriptor, name, os.getxattr(real, name))


def _in_place(real: str, new: bytes, journal: str) -> None:
    old = Path(real).read_bytes()
    text = json.dumps([base64.b64encode(content).decode() for content in (old, new)])
    kept = Path(f"{journal}.new")
    try:
        with kept.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        kept.replace(journal)
    except OSError as error:
        kept.unlink(missing_ok=True)
        if error.errno not in _FULL or not _is_shorter(new, real):
            raise
    _write_over(real, new)
    Path(journal).unlink(missing_ok=True)


def _write_over(real: str, new: bytes) -> None:
    """Overwrite without truncating first: a reader never sees an empty file."""
    descriptor = os.open(real, os.O_WRONLY)
    try:
        done = 0
        while done < len(new):
            done += os.pwrite(descriptor, new[done:], done)
        os.ftruncate(descriptor, len(new))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
