"""What is SQLite's alone: durability, one process, damage. The interface has its own suite."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hostmesh_controlplane.edges.store_sqlite import SqliteStore, StoreInUse, StoreUnavailable
from hostmesh_controlplane.logic.store import Conflict, Record, Table
from hostmesh_core.errors import BadInput


def _open(path: Path) -> SqliteStore[Record]:
    return SqliteStore(path, record=Record, conflict=Conflict)


def test_records_and_versions_outlive_the_process(tmp_path: Path) -> None:
    store = _open(tmp_path / "state.db")
    written = asyncio.run(store.put_if(Table.HOSTS, "a", b"one", version=0))
    store.close()
    again = _open(tmp_path / "state.db")
    assert asyncio.run(again.get(Table.HOSTS, "a")) == written
    assert asyncio.run(again.put_if(Table.HOSTS, "b", b"", version=0)).version > written.version
    again.close()


def test_every_file_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        store = _open(tmp_path / "state.db")
        asyncio.run(store.put_if(Table.HOSTS, "a", b"one", version=0))
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    finally:
        os.umask(before)
    store.close()
    assert set(modes) >= {"state.db", "state.db-wal", "state.db.lock"}
    assert set(modes.values()) == {0o600}


def test_a_second_control_plane_is_kept_out_and_told_why(tmp_path: Path) -> None:
    store = _open(tmp_path / "state.db")
    with pytest.raises(StoreInUse, match=r"cannot open the store .* another control plane"):
        _open(tmp_path / "state.db")
    store.close()
    _open(tmp_path / "state.db").close()


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(BadInput, match=r"cannot open the store .*newer version"):
        _open(path)


def test_a_damaged_file_is_named_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database, " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="cannot open the store"):
        _open(path)
    assert path.read_bytes() == before


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot open the store"):
        _open(tmp_path / "absent" / "state.db")


def test_a_full_disk_is_an_answer_and_not_the_end(tmp_path: Path) -> None:
    store = _open(tmp_path / "state.db")

    async def scenario() -> None:
        await store.put_if(Table.HOSTS, "small", b"", version=0)
        await store._do(lambda c: c.execute("PRAGMA max_page_count = 8").fetchone())
        with pytest.raises(StoreUnavailable, match="nothing was changed"):
            await store.put_if(Table.HOSTS, "large", b"x" * 200_000, version=0)
        assert [r.key for r in await store.list(Table.HOSTS)] == ["small"]
        await store.put_if(Table.HOSTS, "small2", b"", version=0)

    asyncio.run(scenario())
    store.close()


def test_a_caller_who_gives_up_does_not_hide_the_change_from_watchers(tmp_path: Path) -> None:
    store = _open(tmp_path / "state.db")

    async def scenario() -> None:
        watch = store.watch(Table.HOSTS)
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(store.put_if(Table.HOSTS, "a", b"", version=0))
            await asyncio.sleep(0)
            writer.cancel()
        async with asyncio.timeout(5):
            seen = await anext(watch)
        assert isinstance(seen, Record)

    asyncio.run(scenario())
    store.close()


def test_a_slow_watcher_gets_the_last_state_of_each_key(tmp_path: Path) -> None:
    store = _open(tmp_path / "state.db")

    async def scenario() -> None:
        watch = store.watch(Table.HOSTS)
        version = 0
        for n in range(20):
            record = await store.put_if(Table.HOSTS, "a", b"%d" % n, version=version)
            version = record.version
        b = await store.put_if(Table.HOSTS, "b", b"", version=0)
        assert await anext(watch) == Record("a", b"19", version)
        assert await anext(watch) == b

    asyncio.run(scenario())
    store.close()


@pytest.mark.process
def test_what_was_answered_survives_sigkill(tmp_path: Path) -> None:
    code = """
        import asyncio, os, signal, sys
        from pathlib import Path
        from hostmesh_controlplane.edges.store_sqlite import SqliteStore
        from hostmesh_controlplane.logic.store import Conflict, Record, Table

        async def main():
            store = SqliteStore(Path(sys.argv[1]), record=Record, conflict=Conflict)
            await asyncio.gather(
                *(store.put_if(Table.VIPS, f"{n:04}", b"v", version=0) for n in range(1000))
            )
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """
    path = tmp_path / "state.db"
    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    assert subprocess.run(command, check=False).returncode == -9
    store = _open(path)
    assert len(asyncio.run(store.list(Table.VIPS))) == 1000
    store.close()
