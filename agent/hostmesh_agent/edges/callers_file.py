"""The book of callers on disk: its owner's alone, replaced whole. Blocking, and small."""

import os
from contextlib import suppress
from pathlib import Path

from hostmesh_core.errors import HostmeshError

MODE = 0o600
"""It says who talks to whom."""


class CannotKeep(HostmeshError):
    """The book could not be written: it goes on in memory."""


def read(path: str) -> bytes | None:
    """Give what an earlier agent kept; None where there is nothing that can be read."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def write(path: str, data: bytes) -> None:
    """Put `data` there in one rename. Raises CannotKeep."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.new")
    try:
        with suppress(FileNotFoundError):
            temporary.unlink()
        made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
        with os.fdopen(made, "wb") as file:
            file.write(data)
        temporary.replace(target)
    except OSError as error:
        raise CannotKeep(
            f"cannot keep the callers in {path}: {error.strerror}; they are counted on in memory"
        ) from error
