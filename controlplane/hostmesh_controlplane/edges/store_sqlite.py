"""The store interface of `logic/store.py` on one SQLite file (WAL, durable at every answer).

One thread owns the connection. It takes every operation that waits, runs each under a savepoint and
commits them together, so that a thousand writes at once cost a handful of fsyncs and each caller is
answered only when its write is on disk. A lock file keeps a second process out, because changes are
announced to the watchers of this process alone.

Versions come from one counter for the whole file, so that a record deleted and made anew never
has a version that somebody read before.
"""

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

from hostmesh_core.errors import BadInput, Unreachable

R = TypeVar("R")
T = TypeVar("T")
_FORMAT = 1
_BATCH = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER);
INSERT OR IGNORE INTO counter VALUES (1, 0);
"""


class StoreUnavailable(Unreachable):
    """The file cannot be read or written: disk full, permissions, damage."""


class StoreInUse(BadInput):
    """Another control plane has the file."""


class Kind(Protocol):
    """What this edge asks of `logic.store.Table`: a text that names the kind of record."""

    @property
    def value(self) -> str:
        """Give the name."""


@dataclass(slots=True)
class _Job:
    """One operation on its way. `done` is called on the loop, after the commit."""

    run: Callable[[sqlite3.Connection], None]
    loop: asyncio.AbstractEventLoop
    done: Callable[[Exception | None], None]
    error: Exception | None = None


class Watch(AsyncIterator[R | str]):
    """Each later change of one kind, from the moment this was made.

    Several changes of one key that nobody read yet become the last of them: a slow reader costs no
    more than the records there are.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._changes: dict[str, R | None] = {}
        self._some = asyncio.Event()

    async def __anext__(self) -> R | str:
        """Wait for the next change: the record, or the key of a deleted one."""
        while not self._changes:
            self._some.clear()
            await self._some.wait()
        key = next(iter(self._changes))
        record = self._changes.pop(key)
        return key if record is None else record

    def announce(self, key: str, record: R | None) -> None:
        """Note a change."""
        self._changes.pop(key, None)
        self._changes[key] = record
        self._some.set()


class SqliteStore(Generic[R]):
    """One open file. `record` and `conflict` are the types of `logic.store`."""

    def __init__(
        self,
        path: Path,
        *,
        record: Callable[[str, bytes, int], R],
        conflict: Callable[[str], Exception],
    ) -> None:
        self._path = path
        self._record = record
        self._conflict = conflict
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._watches: WeakSet[Watch[R]] = WeakSet()
        self._lock = _locked(path)
        try:
            self._connection = _opened(path)
        except BaseException:
            os.close(self._lock)
            raise
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish what waits and let go of the file."""
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()
        os.close(self._lock)

    async def get(self, table: Kind, key: str) -> R | None:
        """Give the record, or None. Raises StoreUnavailable, as every method here."""

        def run(connection: sqlite3.Connection) -> R | None:
            row = connection.execute(
                "SELECT value, version FROM records WHERE kind = ? AND key = ?", (table.value, key)
            ).fetchone()
            return None if row is None else self._record(key, row[0], row[1])

        return await self._do(run)

    async def list(self, table: Kind) -> list[R]:
        """Give all records of the table, by key."""

        def run(connection: sqlite3.Connection) -> list[R]:
            rows = connection.execute(
                "SELECT key, value, version FROM records WHERE kind = ? ORDER BY key",
                (table.value,),
            )
            return [self._record(key, value, version) for key, value, version in rows]

        return await self._do(run)

    def watch(self, table: Kind) -> Watch[R]:
        """Give each later change: the new record, or the key of a deleted one."""
        watch: Watch[R] = Watch(table.value)
        self._watches.add(watch)
        return watch

    async def put_if(self, table: Kind, key: str, value: bytes, *, version: int) -> R:
        """Write if the stored version is `version` (0 = absent). Raises the conflict type."""

        def run(connection: sqlite3.Connection) -> R:
            self._expect(connection, table.value, key, version)
            (new,) = connection.execute(
                "UPDATE counter SET value = value + 1 RETURNING value"
            ).fetchone()
            connection.execute(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", (table.value, key, value, new)
            )
            return self._record(key, value, new)

        return await self._do(run, lambda record: self._announce(table.value, key, record))

    async def delete_if(self, table: Kind, key: str, *, version: int) -> None:
        """Delete if the stored version is `version`. Raises the conflict type."""

        def run(connection: sqlite3.Connection) -> None:
            self._expect(connection, table.value, key, version)
            connection.execute("DELETE FROM records WHERE kind = ? AND key = ?", (table.value, key))

        await self._do(run, lambda _: self._announce(table.value, key, None))

    def _expect(self, connection: sqlite3.Connection, kind: str, key: str, version: int) -> None:
        row = connection.execute(
            "SELECT version FROM records WHERE kind = ? AND key = ?", (kind, key)
        ).fetchone()
        stored = 0 if row is None else row[0]
        if stored != version:
            raise self._conflict(
                f"{kind}/{key} was written meanwhile: version {stored}, not {version}"
            )

    def _announce(self, kind: str, key: str, record: R | None) -> None:
        for watch in tuple(self._watches):
            if watch.kind == kind:
                watch.announce(key, record)

    async def _do(
        self,
        run: Callable[[sqlite3.Connection], T],
        committed: Callable[[T], None] = lambda _: None,
    ) -> T:
        """Run on the thread. `committed` is called even where the caller has given up waiting."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        outcome: list[T] = []

        def keep(connection: sqlite3.Connection) -> None:
            outcome[:] = [run(connection)]

        def done(error: Exception | None) -> None:
            if error is None:
                committed(outcome[0])
            if future.cancelled():
                return
            if error is None:
                future.set_result(outcome[0])
            else:
                future.set_exception(error)

        self._jobs.put(_Job(keep, loop, done))
        return await future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            jobs, last = [job], False
            while len(jobs) < _BATCH and not last:
                try:
                    more = self._jobs.get_nowait()
                except queue.Empty:
                    break
                last = more is None
                jobs += [more] if more is not None else []
            self._commit(jobs)
            for job in jobs:
                # The loop may be closed already: then nobody waits for the answer.
                with suppress(RuntimeError):
                    job.loop.call_soon_threadsafe(job.done, job.error)
            if last:
                return

    def _commit(self, jobs: Sequence[_Job]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                _run(self._connection, job)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            for job in jobs:
                job.error = StoreUnavailable(
                    f"cannot use the store {self._path}: {error}; nothing was changed"
                )


def _run(connection: sqlite3.Connection, job: _Job) -> None:
    """Run one operation so that its failure undoes itself alone."""
    connection.execute("SAVEPOINT job")
    try:
        job.run(connection)
    except sqlite3.Error:
        raise
    except Exception as error:  # noqa: BLE001 (handed to the caller who waits for it)
        job.error = error
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _locked(path: Path) -> int:
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"cannot open the store {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StoreInUse(
            f"cannot open the store {path}: another control plane runs on it; stop that one or "
            "give this one a state_dir of its own"
        ) from error
    return lock


def _opened(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found in (0, _FORMAT):
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
            return connection
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"cannot open the store {path}: {error}") from error
    connection.close()
    raise BadInput(
        f"cannot open the store {path}: a newer version of Hostmesh wrote it (format {found}, this "
        f"one knows {_FORMAT}); install that version again or restore an older copy of the file"
    )
