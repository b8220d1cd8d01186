import asyncio
from collections.abc import Awaitable, Callable

from hostmesh_controlplane.app import registration_store
from hostmesh_controlplane.app.registration_store import RegistrationStore
from hostmesh_controlplane.logic.store import Table
from hostmesh_core.errors import Unreachable
from hostmesh_core.ids import EndpointKey
from hostmesh_testing.hosts import DOMAIN
from hostmesh_testing.memory_store import MemoryStore


class Away(Unreachable):
    """The store does not answer."""


def play(scene: Callable[[RegistrationStore, MemoryStore], Awaitable[None]]) -> None:
    async def whole() -> None:
        backend = MemoryStore()

        async def sleep(_: float) -> None:
            backend.fail = None
            await asyncio.sleep(0)

        store = RegistrationStore(backend, sleep=sleep)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(store.run())
            await scene(store, backend)
            running.cancel()

    asyncio.run(whole())


async def stored(backend: MemoryStore, host: str) -> bytes | None:
    record = await backend.get(Table.REGISTRATIONS, host)
    return record.value if record else None


def test_the_newest_value_is_stored_and_read_at_the_next_start() -> None:
    async def scene(store: RegistrationStore, backend: MemoryStore) -> None:
        for value in (b"1", b"2", b"3"):
            store.put("a", value)
        await store.flushed()
        assert await stored(backend, "a") == b"3"
        assert await RegistrationStore(backend, sleep=asyncio.sleep).load() == [("a", b"3")]

    play(scene)


def test_none_deletes_and_deleting_what_is_not_there_asks_nobody() -> None:
    async def scene(store: RegistrationStore, backend: MemoryStore) -> None:
        store.put("a", b"1")
        store.put("b", None)
        await store.flushed()
        store.put("a", None)
        await store.flushed()
        assert await stored(backend, "a") is None

    play(scene)


def test_who_leaves_while_the_first_write_is_under_way_is_not_stored() -> None:
    async def scene(store: RegistrationStore, backend: MemoryStore) -> None:
        backend.gate = asyncio.Event()
        store.put("a", b"1")
        await backend.entered.wait()
        store.put("a", None)
        backend.gate.set()
        await store.flushed()
        assert await stored(backend, "a") is None

    play(scene)


def test_somebody_else_s_write_is_replaced_by_the_newest() -> None:
    async def scene(store: RegistrationStore, backend: MemoryStore) -> None:
        await backend.put_if(Table.REGISTRATIONS, "a", b"foreign", version=0)
        store.put("a", b"own")
        await store.flushed()
        assert await stored(backend, "a") == b"own"

    play(scene)


def test_a_store_that_is_away_is_tried_again_and_a_newer_value_wins() -> None:
    async def scene(store: RegistrationStore, backend: MemoryStore) -> None:
        backend.fail = Away("cannot reach the store")
        store.put("a", b"1")
        await asyncio.sleep(0)
        store.put("a", b"2")
        await store.flushed()
        assert await stored(backend, "a") == b"2"

    play(scene)


PLACE = (f"web.default.{DOMAIN}", EndpointKey("", "10.0.0.4", 8080))
OTHER = (f"api.default.{DOMAIN}", EndpointKey("", "10.0.0.4", 9090))


def test_a_place_is_stored_once_it_is_written_and_until_a_value_without_it_is_put() -> None:
    async def scene(store: RegistrationStore, backend: MemoryStore) -> None:
        told: list[str] = []
        store.on_stored = told.append
        backend.gate = asyncio.Event()
        store.put("a", b"1", {PLACE})
        assert store.places("a") == frozenset()
        backend.gate.set()
        await store.written("a")
        assert store.places("a") == {PLACE}
        assert told == ["a"]
        store.put("a", b"2", {PLACE, OTHER})
        assert store.places("a") == {PLACE}, "the other one is not written yet"
        store.put("a", b"3", {OTHER})
        assert store.places("a") == frozenset(), "it may be gone before the next one is told of"
        await store.written("a")
        assert store.places("a") == {OTHER}

    play(scene)


def test_what_was_put_again_while_a_value_without_it_is_written_is_not_stored() -> None:
    async def scene(store: RegistrationStore, backend: MemoryStore) -> None:
        store.put("a", b"1", {PLACE})
        await store.written("a")
        backend.gate = asyncio.Event()
        backend.entered.clear()
        store.put("a", b"2")
        await backend.entered.wait()
        store.put("a", b"3", {PLACE})
        assert store.places("a") == frozenset()
        backend.gate.set()
        await store.written("a")
        assert store.places("a") == {PLACE}

    play(scene)


def test_hosts_that_come_together_are_written_together() -> None:
    async def scene(store: RegistrationStore, backend: MemoryStore) -> None:
        backend.gate = asyncio.Event()
        for number in range(registration_store.AT_ONCE):
            store.put(str(number), b"1")
        await backend.entered.wait()
        await asyncio.sleep(0)
        assert len(store._writing) == registration_store.AT_ONCE
        backend.gate.set()
        await store.flushed()
        assert len(await backend.list(Table.REGISTRATIONS)) == registration_store.AT_ONCE

    play(scene)
