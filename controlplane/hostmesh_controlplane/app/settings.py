"""Reads controlplane.yaml from disk."""

from pathlib import Path

from hostmesh_controlplane.config import ControlPlaneConfig
from hostmesh_controlplane.logic import config_file
from hostmesh_core.errors import BadInput


def load(path: str | None) -> ControlPlaneConfig:
    """Give the configuration of a file, or the defaults without one. Raises BadInput."""
    if path is None:
        return ControlPlaneConfig()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInput(f"cannot read {path}: {reason}") from error
    return config_file.parse(text, file=path)
