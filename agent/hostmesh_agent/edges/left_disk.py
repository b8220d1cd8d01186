"""left.json on the disk: written whole by rename, by root (or the one user of explicit mode)."""

from pathlib import Path

from hostmesh_agent.edges import redirect_files
from hostmesh_core.errors import BadInput


def read(path: str, limit: int) -> bytes | None:
    """Give the file's bytes, one more than `limit` at most; None = there is none."""
    try:
        with Path(path).open("rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error


def write(path: str, data: bytes | None) -> None:
    """Put the bytes there; None takes the file away. Raises CannotWrite."""
    if data is not None:
        redirect_files.write(path, data)
        return
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise redirect_files.CannotWrite(f"cannot remove {path}: {error.strerror}") from error
