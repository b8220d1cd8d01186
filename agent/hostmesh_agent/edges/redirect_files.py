"""The agent's side of the redirector's files: written whole by rename, read and checked."""

import os
from pathlib import Path

from hostmesh_core.capture_plan import FILE_LIMIT, CapturePlan
from hostmesh_core.errors import BadInput, HostmeshError
from hostmesh_core.redirect_files import NameTable, RedirectState, Report

MODE = 0o644
"""Everybody may read what is captured; the folders say who may write."""


class CannotWrite(HostmeshError):
    """A file for the redirector could not be written: capture stays as it was."""


def write(path: str, data: bytes) -> None:
    """Put `data` at `path` in one rename, mode 0644. Raises CannotWrite."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # never through a link of whoever has the folder
            os.fchmod(file.fileno(), MODE)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror}") from error


def read_report(path: str) -> Report | None:
    """Give the redirector's last report; None where there is none, or none that can be read."""
    data = read_bytes(path)
    try:
        return None if data is None else Report.decode(data, where=path)
    except BadInput:
        # Another version's file, about to be replaced: no word is the honest reading.
        return None


class ReportFile:
    """The redirector's report, read only when it was replaced, for who looks often."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def read_new(self) -> Report | None:
        """Give the report that was written since the last call; None where there is none."""
        try:
            found = Path(self._path).stat()
        except OSError:
            return None
        # Taken before the file is read: what replaces it meanwhile is read again, never missed.
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen == self._seen:
            return None
        self._seen = seen
        return read_report(self._path)


def read_plan(path: str) -> CapturePlan | None:
    """Give what root said last; None where there is none. Raises BadInput for a damaged one."""
    data = read_bytes(path)
    return None if data is None else CapturePlan.decode(data, where=path)


def last_sequences(state: str, names: str) -> int:
    """Give the highest sequence that an earlier agent wrote, so that this one goes on above it."""
    highest = 0
    try:
        if (data := read_bytes(state)) is not None:
            highest = RedirectState.decode(data, where=state).sequence
        if (data := read_bytes(names)) is not None:
            highest = max(highest, NameTable.decode(data, where=names).sequence)
    except BadInput:
        # Written by nobody we know: the redirector refuses it too and takes the next write.
        return highest
    return highest


def read_state(path: str) -> RedirectState | None:
    """Give what an earlier agent asked for; None where there is none, or none that can be read."""
    data = read_bytes(path)
    try:
        return None if data is None else RedirectState.decode(data, where=path)
    except BadInput:
        return None


def read_bytes(path: str) -> bytes | None:
    """Give a file's bytes, cut above the limit; None where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(FILE_LIMIT + 1)
    except OSError:
        return None
