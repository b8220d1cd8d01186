"""Makes an instance's folders with a note of which were not there, and takes just those away again.

The outer folders are all instances': a mark of each that was not there lies in the outer one of
/var/lib, and whichever instance leaves last goes by it. Standard library only: `run --all` makes
folders too.
"""

import json
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hostmesh_agent.edges import folders, taken_folder
from hostmesh_agent.edges.folders import Folder
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout

_BESIDE = ".hostmesh-new"
_ROUNDS = 10
"""Other instances make and remove the outer folder too: each round begins with what is there."""
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


def _found(layout: HostLayout, rounds: int = _ROUNDS) -> None:
    """Make the state folder with the note in it, in one step: never one without the other."""
    missing = _missing(layout)
    if not missing:
        return
    try:
        _put(layout, missing)
    except OSError:
        if rounds == 1 or _missing(layout) == missing:
            raise
        _found(layout, rounds - 1)


def _missing(layout: HostLayout) -> list[Path]:
    state = Path(layout.state_dir)
    return [path for path in (state.parent, state) if not os.path.lexists(path)]


def _put(layout: HostLayout, missing: list[Path]) -> None:
    """Make what is missing of the state folder and its outer one. Raises OSError."""
    top, state = missing[0], Path(layout.state_dir)
    beside = Path(f"{top}{_BESIDE}.{layout.instance}.{os.getpid()}")
    _sweep(top, layout)
    inner = beside / state.relative_to(top)
    inner.mkdir(mode=0o755, parents=True)
    _write(inner / Path(layout.made_file).name, [str(state)])
    if top == state.parent:
        (beside / _marks(layout)[str(top)].name).touch(mode=0o600)
    try:
        beside.rename(top)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _sweep(top: Path, layout: HostLayout) -> None:
    """Take away what makings that were cut short have left."""
    for left in top.parent.glob(f"{top.name}{_BESIDE}.{layout.instance}.*"):
        shutil.rmtree(left, ignore_errors=True)


def _note(layout: HostLayout, paths: Iterable[str]) -> None:
    before, marks = made(layout), _marks(layout)
    missing = [path for path in paths if path not in before and not os.path.lexists(path)]
    own = [path for path in missing if path not in marks or not _mark(marks[path])]
    if own:
        _write(Path(layout.made_file), [*_noted(layout), *own])


def _marks(layout: HostLayout) -> dict[str, Path]:
    """Give each outer folder with the file that says that it was not there."""
    outer = Path(layout.state_dir).parent
    folders_of = {"log": layout.log_file, "run": layout.run_dir, "state": layout.state_dir}
    return {str(Path(at).parent): outer / f".made-{name}" for name, at in folders_of.items()}


def _mark(mark: Path) -> bool:
    """Make a mark; False where this user may not."""
    try:
        mark.touch(mode=0o600, exist_ok=False)  # never through a link
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def made(layout: HostLayout) -> list[str]:
    """Give the folders that were not there before; empty where nobody noted it."""
    marked = [path for path, mark in _marks(layout).items() if os.path.lexists(mark)]
    return list(dict.fromkeys([*marked, *_noted(layout)]))


def _noted(layout: HostLayout) -> list[str]:
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
    # The note goes last: until then a second `leave` knows what is left.
    _empty(state, ours, keep=Path(layout.made_file))
    Path(layout.made_file).unlink(missing_ok=True)
    _remove_where_ours(state, ours)
    for folder in (state, state.parent):
        _sweep(folder, layout)
    _remove_outer(layout, ours)


def _remove_outer(layout: HostLayout, ours: list[str]) -> None:
    """Take the outer folders away with the last instance.

    Looked at when this one's are gone: of two that leave at once the later finds nobody.
    """
    state = Path(layout.state_dir)
    others = (path for path in _inside(state.parent) if path != state)
    if any(path.is_dir() and _inside(path) for path in others):
        return
    for unfinished in state.parent.glob(".*.new"):  # its writer was killed before the rename
        if not unfinished.is_dir():  # somebody else's then
            unfinished.unlink(missing_ok=True)
    marks = _marks(layout)
    for folder in sorted(marks.keys() - {str(state.parent)}):
        _remove_where_ours(Path(folder), ours)
    for mark in marks.values():
        mark.unlink(missing_ok=True)
    _remove_where_ours(state.parent, ours)  # the last: the marks lay in it


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
            taken_folder.empty(str(path))
        else:
            taken_folder.remove(str(path))


def _remove_where_ours(folder: Path, ours: list[str]) -> None:
    if str(folder) in ours:
        with suppress(OSError):  # somebody else's things are in it
            folder.rmdir()
