import asyncio
from collections.abc import Awaitable, Callable

from typing_extensions import override

from hostmesh_controlplane.app.registration_store import RegistrationStore
from hostmesh_controlplane.logic.store import Record, Table
from hostmesh_core.errors import Unreachable
from hostmesh_testing.memory_store import MemoryStore


class Away(Unreachable):
    """The store does not answer."""


class GatedStore(MemoryStore):
    """A write waits for the gate, where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self.gate: asyncio.Event | None = None

    @override
    async def put_if(self, table: Table, key: str, value: bytes, *, version: int) -> Record:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        return await super().put_if(table, key, value, version=version)


def play(scene: Callable[[RegistrationStore, GatedStore], Awaitable[None]]) -> None:
    async def whole() -> None:
        backend = GatedStore()

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
    async def scene(store: RegistrationStore, backend: GatedStore) -> None:
        for value in (b"1", b"2", b"3"):
            store.put("a", value)
        await store.flushed()
        assert await stored(backend, "a") == b"3"
        assert await RegistrationStore(backend, sleep=asyncio.sleep).load() == [("a", b"3")]

    play(scene)


def test_none_deletes_and_deleting_what_is_not_there_asks_nobody() -> None:
    async def scene(store: RegistrationStore, backend: GatedStore) -> None:
        store.put("a", b"1")
        store.put("b", None)
        await store.flushed()
        store.put("a", None)
        await store.flushed()
        assert await stored(backend, "a") is None

    play(scene)


def test_who_leaves_while_the_first_write_is_under_way_is_not_stored() -> None:
    async def scene(store: RegistrationStore, backend: GatedStore) -> None:
        backend.gate = asyncio.Event()
        store.put("a", b"1")
        await backend.entered.wait()
        store.put("a", None)
        backend.gate.set()
        await store.flushed()
        assert await stored(backend, "a") is None

    play(scene)


def test_somebody_else_s_write_is_replaced_by_the_newest() -> None:
    async def scene(store: RegistrationStore, backend: GatedStore) -> None:
        await backend.put_if(Table.REGISTRATIONS, "a", b"foreign", version=0)
        store.put("a", b"own")
        await store.flushed()
        assert await stored(backend, "a") == b"own"

    play(scene)


def test_a_store_that_is_away_is_tried_again_and_a_newer_value_wins() -> None:
    async def scene(store: RegistrationStore, backend: GatedStore) -> None:
        backend.fail = Away("cannot reach the store")
        store.put("a", b"1")
        await asyncio.sleep(0)
        store.put("a", b"2")
        await store.flushed()
        assert await stored(backend, "a") == b"2"

    play(scene)
