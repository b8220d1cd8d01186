"""One suite for the store interface, whatever is behind it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hostmesh_controlplane.edges.store_sqlite import SqliteStore
from hostmesh_controlplane.logic.store import Conflict, Record, Store, Table
from hostmesh_testing.memory_store import MemoryStore

Scenario = Callable[[Store], Coroutine[Any, Any, None]]
Run = Callable[[Scenario], None]


@asynccontextmanager
async def _memory(_: Path) -> AsyncIterator[Store]:
    yield MemoryStore()


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[Store]:
    store = SqliteStore(folder / "state.db", record=Record, conflict=Conflict)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture(params=[_memory, _sqlite], ids=["memory", "sqlite"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    async def play(scenario: Scenario) -> None:
        async with request.param(tmp_path) as store:
            await scenario(store)

    return lambda scenario: asyncio.run(play(scenario))


def test_what_is_put_can_be_got_with_its_version(run: Run) -> None:
    async def scenario(store: Store) -> None:
        written = await store.put_if(Table.HOSTS, "a", b"one", version=0)
        assert written.version > 0
        assert await store.get(Table.HOSTS, "a") == Record("a", b"one", written.version)

    run(scenario)


def test_what_was_never_put_is_none(run: Run) -> None:
    async def scenario(store: Store) -> None:
        assert await store.get(Table.HOSTS, "a") is None
        assert await store.list(Table.HOSTS) == []

    run(scenario)


def test_tables_are_apart(run: Run) -> None:
    async def scenario(store: Store) -> None:
        await store.put_if(Table.HOSTS, "a", b"host", version=0)
        await store.put_if(Table.TOKENS, "a", b"token", version=0)
        assert [r.value for r in await store.list(Table.HOSTS)] == [b"host"]
        assert [r.value for r in await store.list(Table.TOKENS)] == [b"token"]

    run(scenario)


def test_a_list_is_in_the_order_of_its_keys(run: Run) -> None:
    async def scenario(store: Store) -> None:
        for key in ("c", "a", "b"):
            await store.put_if(Table.VIPS, key, b"", version=0)
        assert [r.key for r in await store.list(Table.VIPS)] == ["a", "b", "c"]

    run(scenario)


def test_a_write_over_an_unexpected_version_is_a_conflict_and_changes_nothing(run: Run) -> None:
    async def scenario(store: Store) -> None:
        first = await store.put_if(Table.HOSTS, "a", b"one", version=0)
        second = await store.put_if(Table.HOSTS, "a", b"two", version=first.version)
        assert second.version > first.version
        for stale in (0, first.version, second.version + 1):
            with pytest.raises(Conflict):
                await store.put_if(Table.HOSTS, "a", b"three", version=stale)
            with pytest.raises(Conflict):
                await store.delete_if(Table.HOSTS, "a", version=stale)
        assert await store.get(Table.HOSTS, "a") == second

    run(scenario)


def test_a_write_of_something_absent_needs_version_0(run: Run) -> None:
    async def scenario(store: Store) -> None:
        with pytest.raises(Conflict):
            await store.put_if(Table.HOSTS, "a", b"", version=7)

    run(scenario)


def test_a_record_made_anew_never_has_an_old_version(run: Run) -> None:
    async def scenario(store: Store) -> None:
        first = await store.put_if(Table.HOSTS, "a", b"", version=0)
        await store.delete_if(Table.HOSTS, "a", version=first.version)
        assert await store.get(Table.HOSTS, "a") is None
        again = await store.put_if(Table.HOSTS, "a", b"", version=0)
        assert again.version > first.version

    run(scenario)


def test_of_many_writers_of_one_version_one_wins(run: Run) -> None:
    async def scenario(store: Store) -> None:
        first = await store.put_if(Table.TOKENS, "t", b"0", version=0)
        results = await asyncio.gather(
            *(store.put_if(Table.TOKENS, "t", b"%d" % n, version=first.version) for n in range(50)),
            return_exceptions=True,
        )
        won = [r for r in results if isinstance(r, Record)]
        assert len(won) == 1
        assert sum(isinstance(r, Conflict) for r in results) == 49
        assert await store.get(Table.TOKENS, "t") == won[0]

    run(scenario)


def test_a_counter_under_compare_and_set_loses_no_increment(run: Run) -> None:
    async def scenario(store: Store) -> None:
        async def increment() -> None:
            while True:
                found = await store.get(Table.CONFIG, "n")
                value = int(found.value) + 1 if found else 1
                version = found.version if found else 0
                try:
                    await store.put_if(Table.CONFIG, "n", b"%d" % value, version=version)
                except Conflict:
                    continue
                return

        await asyncio.gather(*(increment() for _ in range(30)))
        found = await store.get(Table.CONFIG, "n")
        assert found is not None
        assert found.value == b"30"

    run(scenario)


def test_a_watch_sees_each_change_from_the_moment_it_was_made(run: Run) -> None:
    async def scenario(store: Store) -> None:
        before = await store.put_if(Table.HOSTS, "old", b"", version=0)
        watch = store.watch(Table.HOSTS)
        await store.put_if(Table.TOKENS, "other", b"", version=0)
        a = await store.put_if(Table.HOSTS, "a", b"1", version=0)
        await store.delete_if(Table.HOSTS, "old", version=before.version)
        async with asyncio.timeout(5):
            assert await anext(watch) == a
            assert await anext(watch) == "old"

    run(scenario)


def test_a_watch_that_waits_is_woken(run: Run) -> None:
    async def scenario(store: Store) -> None:
        watch = store.watch(Table.VIPS)

        async def put() -> Record:
            await asyncio.sleep(0.01)
            return await store.put_if(Table.VIPS, "a", b"", version=0)

        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            writer = group.create_task(put())
            seen = await anext(watch)
        assert seen == writer.result()

    run(scenario)


def test_a_refused_write_is_not_announced(run: Run) -> None:
    async def scenario(store: Store) -> None:
        watch = store.watch(Table.HOSTS)
        with pytest.raises(Conflict):
            await store.put_if(Table.HOSTS, "a", b"", version=3)
        b = await store.put_if(Table.HOSTS, "b", b"", version=0)
        async with asyncio.timeout(5):
            assert await anext(watch) == b

    run(scenario)
