"""Reads a directory (or one file) of catalog documents, and again what changed in it.

Changes are seen by comparing time, size and inode of each file, which is cheap, works on every
file system, and sees an atomic rename as well as an edit in place.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from hostmesh_controlplane.events.catalogs import (
    CatalogFact,
    FilesRead,
    FileText,
    SourceAway,
    SourceBack,
    SourceSynced,
)
from hostmesh_core.documents import MAX_BYTES

SUFFIXES = (".yaml", ".yml", ".json")
MAX_PAUSE_SECONDS = 30.0

Signature = tuple[int, int, int]
"""Modification time in ns, size, inode."""


class StaticFiles:
    """One static source."""

    def __init__(self, source: str, path: str, *, poll_seconds: float = 1.0) -> None:
        self._source = source
        self._path = Path(path)
        self._poll_seconds = poll_seconds
        self._seen: dict[str, Signature | None] = {}
        self._away = ""
        self._synced = False

    async def run(self, emit: Callable[[CatalogFact], Awaitable[None]]) -> None:
        """Read now, and at every poll; never returns. Nothing that files do can end it."""
        loop = asyncio.get_running_loop()
        while True:
            start = loop.time()
            facts = await asyncio.to_thread(self.step)
            # Where a look takes long, for there are many files, it takes a twentieth of the time.
            pause = max(self._poll_seconds, 20 * (loop.time() - start))
            for fact in facts:
                await emit(fact)
            await asyncio.sleep(min(pause, MAX_PAUSE_SECONDS))

    def step(self) -> list[CatalogFact]:
        """Look once; give what is to be told."""
        try:
            present = {str(path): _signature(path) for path in self._files()}
        except OSError as error:
            return self._not_there(error)
        facts: list[CatalogFact] = [SourceBack(self._source)] if self._away else []
        self._away = ""
        changed = [path for path in sorted(present) if self._differs(path, present[path])]
        gone = tuple(sorted(set(self._seen) - set(present)))
        self._seen = present
        if changed or gone or not self._synced:
            texts = tuple(_read(path) for path in changed)
            for text in texts:
                if text.problem:
                    self._seen[text.path] = None  # read again at the next poll
            facts.append(FilesRead(self._source, texts, gone))
        if not self._synced:
            facts.append(SourceSynced(self._source))
        self._synced = True
        return facts

    def _files(self) -> list[Path]:
        if self._path.is_file():
            return [self._path]
        with os.scandir(self._path):  # a missing or closed directory is not an empty one
            pass
        found: list[Path] = []
        for folder, folders, names in os.walk(self._path, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            found += [
                Path(folder, name)
                for name in names
                if name.endswith(SUFFIXES) and not name.startswith(".")
            ]
        return found

    def _differs(self, path: str, signature: Signature | None) -> bool:
        return path not in self._seen or signature is None or self._seen[path] != signature

    def _not_there(self, error: OSError) -> list[CatalogFact]:
        reason = (
            f"cannot read {self._path}: {error.strerror or error}; the services that were read "
            f"from it stay, and it is looked for every {self._poll_seconds:g} s"
        )
        if reason == self._away:
            return []
        self._away = reason
        return [SourceAway(self._source, reason)]


def _raise(error: OSError) -> None:
    raise error


def _signature(path: Path) -> Signature | None:
    """Give what changes with a file's content; None where the file cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: str) -> FileText:
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            return FileText(path, "", f"cannot read {path}: larger than {MAX_BYTES} bytes")
        return FileText(path, Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        return FileText(path, "", f"cannot read {path}: {error.strerror or error}")
    except UnicodeDecodeError as error:
        return FileText(path, "", f"cannot read {path}: not UTF-8 at byte {error.start}")
