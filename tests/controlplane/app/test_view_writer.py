import asyncio

from hostmesh_controlplane.app.view_writer import ViewWriter
from hostmesh_controlplane.logic.source_views import StoredSource, StoredView
from hostmesh_controlplane.logic.store import Table
from hostmesh_core.errors import Unreachable
from hostmesh_testing.catalogs import REVIEWS, service
from hostmesh_testing.memory_store import MemoryStore

VIEW, OTHER = StoredView(service("10.0.0.1:80")), StoredView(service("10.0.0.2:80"))


async def stored(store: MemoryStore) -> dict[str, StoredView]:
    views, _ = (await ViewWriter(store).load()).get("dc1", ({}, None))
    return views


def test_a_later_view_replaces_one_that_was_not_written_yet() -> None:
    async def run() -> None:
        store = MemoryStore()
        writer = ViewWriter(store)
        writer.put("dc1", REVIEWS, VIEW)
        writer.put("dc1", REVIEWS, OTHER)
        await writer.flush()
        assert await stored(store) == {REVIEWS: OTHER}
        writer.put("dc1", REVIEWS, None)
        await writer.flush()
        assert await stored(store) == {}
        writer.put("dc1", "never.stored", None)
        await writer.flush()

    asyncio.run(run())


def test_somebody_elses_write_is_replaced() -> None:
    async def run() -> None:
        store = MemoryStore()
        one, other = ViewWriter(store), ViewWriter(store)
        one.put("dc1", REVIEWS, VIEW)
        await one.flush()
        other.put("dc1", REVIEWS, OTHER)
        await other.flush()
        one.put("dc1", REVIEWS, None)
        await one.flush()
        assert await stored(store) == {}

    asyncio.run(run())


def test_what_a_source_is_remembered_for_is_no_service() -> None:
    async def run() -> None:
        store = MemoryStore()
        writer = ViewWriter(store)
        writer.put_source("dc1", StoredSource(sentinel_seen=True))
        await writer.flush()
        assert await ViewWriter(store).load() == {"dc1": ({}, StoredSource(sentinel_seen=True))}
        versions = [record.version for record in await store.list(Table.SOURCES)]
        writer.put_source("dc1", StoredSource(sentinel_seen=True))
        await writer.flush()
        assert [r.version for r in await store.list(Table.SOURCES)] == versions

    asyncio.run(run())


def test_a_store_that_fails_does_not_end_the_writer_and_the_end_writes_the_rest() -> None:
    async def run() -> None:
        store = MemoryStore()
        writer = ViewWriter(store)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(writer.run())
            store.fail = Unreachable("cannot write: disk full")
            writer.put("dc1", REVIEWS, VIEW)
            await asyncio.sleep(0.05)
            assert not task.done()
            store.fail = None
            task.cancel()
        assert await stored(store) == {REVIEWS: VIEW}

    asyncio.run(run())
