"""Generations on the disk: what Envoy is started from while no control plane answers.

One file per generation, whole or not there: written aside, flushed, renamed. Two kinds of link
point at them, `stored` at the last one and `good`, `good-before` at those that an Envoy ran on. A
kill at any point leaves files that are whole and links that lead to one, or to none.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hostmesh_core.errors import HostmeshError
from hostmesh_core.xds import store
from hostmesh_core.xds.store import Damaged, Generation

KEPT = 3
"""Generations kept beside those that a link points at."""

_STORED = "stored"
_GOOD = "good"
_GOOD_BEFORE = "good-before"
_PREFIX = "generation-"


class CannotStore(HostmeshError):
    """The disk does not take a generation; what is served does not depend on it."""


class GenerationFolder:
    """The folder of one agent instance. Blocking: write from a thread. Thread-safe."""

    def __init__(self, folder: str) -> None:
        """Name the folder; it exists and nobody else writes to it."""
        self._folder = Path(folder)
        self._lock = threading.Lock()

    def load(self) -> tuple[Generation | None, list[str]]:
        """Give the last stored generation that is whole, and a sentence for each that is not."""
        problems: list[str] = []
        for path in self._candidates():
            try:
                return store.decode(path.read_bytes()), problems
            except (OSError, Damaged) as error:
                problems.append(f"{error} ({path}); trying an older one")
        return None, problems

    def save(self, generation: Generation) -> None:
        """Write a generation and make it the stored one. Raises CannotStore."""
        path = self._path(generation.sequence)
        aside = path.with_suffix(".new")
        try:
            with self._lock, aside.open("wb") as file:
                file.write(store.encode(generation))
                file.flush()
                os.fsync(file.fileno())
                aside.replace(path)
                self._point(_STORED, path)
                self._prune()
        except OSError as error:
            raise CannotStore(
                f"cannot store generation {generation.sequence} in {self._folder}: {error}; "
                "serving it from memory, the next change is tried again"
            ) from error

    def mark_good(self, sequence: int) -> None:
        """Note that Envoy runs on this generation. Raises CannotStore."""
        path = self._path(sequence)
        try:
            with self._lock:
                before = self._target(_GOOD)
                if before == path or not path.exists():
                    return
                if before is not None:
                    self._point(_GOOD_BEFORE, before)
                self._point(_GOOD, path)
        except OSError as error:
            raise CannotStore(f"cannot mark generation {sequence} as good: {error}") from error

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
                    self._point(_STORED, path)
                    self._point(_GOOD, path)
            except Damaged:
                continue
            except OSError as error:
                raise CannotStore(f"cannot fall back to {path}: {error}") from error
            return generation
        return None

    def confirm(self) -> None:
        """Note that the stored one is what the control plane says now; `age` begins anew."""
        with suppress(OSError):
            os.utime(self._folder / _STORED)

    def confirmed_at(self) -> float | None:
        """Give when the stored one was last confirmed, in unix seconds."""
        try:
            return (self._folder / _STORED).stat().st_mtime
        except OSError:
            return None

    def _path(self, sequence: int) -> Path:
        return self._folder / f"{_PREFIX}{sequence:012d}"

    def _target(self, link: str) -> Path | None:
        try:
            return self._folder / (self._folder / link).readlink()
        except OSError:
            return None

    def _point(self, link: str, path: Path) -> None:
        aside = self._folder / f"{link}.new"
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
        for path in self._folder.glob(f"{_PREFIX}*.new"):
            path.unlink(missing_ok=True)
