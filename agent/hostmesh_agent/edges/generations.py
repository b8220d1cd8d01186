"""Generations on the disk: what Envoy is started from while no control plane answers.

A base file holds one generation, whole or not there: written aside, flushed, renamed. What changed
since then is appended to its journal, one step after the other, so that a change costs the disk
what has changed and not the whole mesh; a journal as large as its base gives way to a new base.
Links lead to bases: `stored` to the one that goes on, with its journal; `good` and `good-before` to
those, without journal, that an Envoy has lived on. A kill at any point leaves a whole generation.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hostmesh_core.errors import HostmeshError
from hostmesh_core.xds import store
from hostmesh_core.xds.store import Damaged, Generation

KEPT = 2
"""Bases kept beside those that a link points at."""
JOURNAL_BYTES = 256 * 1024
"""A journal may grow to this, or to the size of its base where that is larger."""

_STORED = "stored"
_GOOD = "good"
_GOOD_BEFORE = "good-before"
_PREFIX = "generation-"
_JOURNAL = ".journal"
_ASIDE = ".new"


class CannotStore(HostmeshError):
    """The disk does not take a generation; what is served does not depend on it."""


class GenerationFolder:
    """The folder of one agent instance. Blocking: write from a thread. Thread-safe."""

    def __init__(self, folder: str) -> None:
        """Name the folder; it exists and nobody else writes to it."""
        self._folder = Path(folder)
        self._lock = threading.Lock()
        self._base: Path | None = None
        self._last = Generation()
        self._room = 0

    def load(self) -> tuple[Generation | None, list[str]]:
        """Give the last stored generation that is whole, and a sentence for each that is not."""
        problems: list[str] = []
        for path in self._candidates():
            try:
                base = store.decode(path.read_bytes())
            except (OSError, Damaged) as error:
                problems.append(f"{error} ({path}); trying an older one")
                continue
            with suppress(OSError):
                if path == self._target(_STORED):
                    base = store.decode_steps(base, _journal(path).read_bytes())
            return base, problems
        return None, problems

    def save(self, generation: Generation) -> None:
        """Make this the stored generation. Raises CannotStore."""
        try:
            with self._lock:
                if self._base is None or not self._append(self._base, generation):
                    self._begin(generation)
                self._last = generation
        except OSError as error:
            # Half a step may stand at the journal's end, and nothing after it would be read.
            self._base = None
            raise CannotStore(
                f"cannot store generation {generation.sequence} in {self._folder}: {error}; "
                "serving it from memory, the next change is tried again"
            ) from error

    def mark_good(self, generation: Generation) -> None:
        """Note that Envoy lives on this generation. Raises CannotStore."""
        path = self._path(generation.sequence)
        try:
            with self._lock:
                before = self._target(_GOOD)
                if before == path:
                    return
                if path != self._base:
                    self._write(path, generation)
                if before is not None:
                    self._point(_GOOD_BEFORE, before)
                self._point(_GOOD, path)
        except OSError as error:
            raise CannotStore(
                f"cannot mark generation {generation.sequence} as good: {error}"
            ) from error

    def fall_back(self, condemned: int) -> Generation | None:
        """Give the last good generation that is not this one, and make it the stored one.

        None where there is none. Raises CannotStore.
        """
        for link in (_GOOD, _GOOD_BEFORE):
            path = self._target(link)
            if path is None or path == self._path(condemned):
                continue
            try:
                generation = store.decode(path.read_bytes())
                with self._lock:
                    self._base = None
                    # Where the good one is also the base, its journal leads to the condemned one.
                    _journal(path).unlink(missing_ok=True)
                    self._point(_STORED, path)
                    self._point(_GOOD, path)
            except Damaged:
                continue
            except OSError as error:
                raise CannotStore(f"cannot fall back to {path}: {error}") from error
            return generation
        return None

    def confirm(self) -> None:
        """Note that the stored one is what the control plane says now; its age begins anew."""
        with suppress(OSError):
            os.utime(self._folder / _STORED)

    def confirmed_at(self) -> float | None:
        """Give when the stored one was last confirmed or changed, in unix seconds."""
        path = self._folder / _STORED
        try:
            changed = path.stat().st_mtime
            with suppress(OSError):
                changed = max(changed, _journal(path.resolve()).stat().st_mtime)
        except OSError:
            return None
        return changed

    def _append(self, base: Path, generation: Generation) -> bool:
        """Write the step to this generation; False where the journal has no room for it."""
        step = store.encode_step(self._last, generation)
        if len(step) > self._room:
            return False
        with _journal(base).open("ab") as file:
            file.write(step)
            file.flush()
            os.fsync(file.fileno())
        self._room -= len(step)
        return True

    def _begin(self, generation: Generation) -> None:
        """Write a new base and lead on from it."""
        path = self._path(generation.sequence)
        # A base of this number may be there from a run that fell back; its journal is not ours.
        _journal(path).unlink(missing_ok=True)
        size = self._write(path, generation)
        self._point(_STORED, path)
        self._base, self._room = path, max(size, JOURNAL_BYTES)
        self._prune()

    def _write(self, path: Path, generation: Generation) -> int:
        data = store.encode(generation)
        aside = path.with_suffix(_ASIDE)
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        return len(data)

    def _path(self, sequence: int) -> Path:
        return self._folder / f"{_PREFIX}{sequence:012d}"

    def _target(self, link: str) -> Path | None:
        try:
            return self._folder / (self._folder / link).readlink()
        except OSError:
            return None

    def _point(self, link: str, path: Path) -> None:
        aside = self._folder / f"{link}{_ASIDE}"
        aside.unlink(missing_ok=True)
        aside.symlink_to(path.name)
        aside.replace(self._folder / link)
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _candidates(self) -> Iterator[Path]:
        """Give the stored one, then the good ones, then whatever else there is, newest first."""
        linked = [self._target(link) for link in (_STORED, _GOOD, _GOOD_BEFORE)]
        found = [path for path in linked if path is not None and path.exists()]
        yield from dict.fromkeys((*found, *self._newest_first()))

    def _newest_first(self) -> list[Path]:
        paths = self._folder.glob(f"{_PREFIX}*")
        return sorted((path for path in paths if not path.suffix), reverse=True)

    def _prune(self) -> None:
        linked = {self._target(link) for link in (_STORED, _GOOD, _GOOD_BEFORE)}
        for path in self._newest_first()[KEPT:]:
            if path not in linked:
                path.unlink(missing_ok=True)
        for path in self._folder.glob(f"{_PREFIX}*{_JOURNAL}"):
            if path != _journal(self._target(_STORED) or path):
                path.unlink(missing_ok=True)
        for path in self._folder.glob(f"{_PREFIX}*{_ASIDE}"):
            path.unlink(missing_ok=True)


def _journal(base: Path) -> Path:
    return base.with_suffix(_JOURNAL)
