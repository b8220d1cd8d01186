"""Makes an instance's folders with a note of which were not there, and takes just those away again.

Standard library only: `run --all` makes them too.
"""

import json
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hostmesh_agent.edges import folders
from hostmesh_agent.edges.folders import Folder
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout

_BESIDE = ".hostmesh-new"
_SHARED = {"redirect.lock"}
"""What all instances of a host share in the outer folder of /run; it goes with the last one."""


def make(layout: HostLayout, wanted: Iterable[Folder]) -> None:
    """Make what is missing, noting first that it is. Raises BadInput."""
    listed = list(wanted)
    try:
        _found(layout)
        _note(layout, [str(Path(layout.log_file).parent), *(folder.path for folder in listed)])
    except OSError as error:
        outer = Path(layout.state_dir).parent
        raise BadInput(
            f"cannot make {outer}: {error.strerror}; run as root, or let root make it once: "
            f"install -d -o {os.geteuid()} {outer}"
        ) from error
    folders.make(listed)


def _found(layout: HostLayout) -> None:
    """Make the state folder with the note in it, in one step: never one without the other."""
    state = Path(layout.state_dir)
    missing = [path for path in (state.parent, state) if not os.path.lexists(path)]
    if not missing:
        return
    top = missing[0]
    beside = Path(f"{top}{_BESIDE}")
    shutil.rmtree(beside, ignore_errors=True)
    inner = beside / state.relative_to(top)
    inner.mkdir(mode=0o755, parents=True)
    _write(inner / Path(layout.made_file).name, [str(path) for path in missing])
    try:
        beside.rename(top)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        if not os.path.lexists(top):
            raise


def _note(layout: HostLayout, paths: Iterable[str]) -> None:
    before = made(layout)
    missing = [path for path in paths if path not in before and not os.path.lexists(path)]
    if missing:
        _write(Path(layout.made_file), [*before, *missing])


def made(layout: HostLayout) -> list[str]:
    """Give the folders that were not there before; empty where nobody noted it."""
    try:
        kept = json.loads(Path(layout.made_file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [path for path in kept if isinstance(path, str)] if isinstance(kept, list) else []


def _write(path: Path, paths: list[str]) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with new.open("x", encoding="utf-8") as file:  # never through a link of whoever has the folder
        json.dump(paths, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def remove(layout: HostLayout) -> None:
    """Take away all that is this instance's. Folders that were there before stay, empty.

    Raises OSError.
    """
    ours = made(layout)
    run, state, log = Path(layout.run_dir), Path(layout.state_dir), Path(layout.log_file)
    for file in (log, log.with_name(f"{log.name}.1")):
        file.unlink(missing_ok=True)
    _empty(run, ours)
    _remove_where_ours(run, ours)
    if {path.name for path in _inside(run.parent)} <= _SHARED:
        for name in _SHARED:
            (run.parent / name).unlink(missing_ok=True)
    for folder in (run.parent, log.parent):
        _remove_where_ours(folder, ours)
    # The note goes last: until then a second `leave` knows what is left.
    _empty(state, ours, keep=Path(layout.made_file))
    Path(layout.made_file).unlink(missing_ok=True)
    for folder in (state, state.parent):
        _remove_where_ours(folder, ours)
        shutil.rmtree(f"{folder}{_BESIDE}", ignore_errors=True)


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _empty(folder: Path, ours: list[str], *, keep: Path | None = None) -> None:
    there_before = bool(ours) and str(folder) not in ours
    for path in _inside(folder):
        if path == keep:
            continue
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink(missing_ok=True)
        elif there_before and str(path) not in ours:
            _empty(path, [str(path)])
        else:
            shutil.rmtree(path)


def _remove_where_ours(folder: Path, ours: list[str]) -> None:
    if str(folder) in ours:
        with suppress(OSError):  # somebody else's things are in it
            folder.rmdir()
