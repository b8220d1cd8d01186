import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hostmesh_controlplane.app.mesh import Mesh, Times
from hostmesh_controlplane.edges.store_sqlite import SqliteStore
from hostmesh_controlplane.logic import merge, vips
from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService, SourceChanged
from hostmesh_controlplane.logic.draft import Rules
from hostmesh_controlplane.logic.store import Conflict, Record, Table
from hostmesh_controlplane.logic.vips import VipRanges, address_key
from hostmesh_core.errors import BadInput, Unreachable
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import MeshChange, Port
from hostmesh_testing.memory_store import MemoryStore

RULES = Rules("mesh.internal", "mesh.internal", (("files", "static"),))
WEB, SHOP = "web.default.mesh.internal", "web.shop.mesh.internal"


def _listed(host: str, *addresses: str) -> SourceChanged:
    endpoints = tuple(CatalogEndpoint(EndpointKey.of(address, 80)) for address in addresses)
    namespace = host.split(".")[1]
    service = CatalogService(host, namespace, ports=(Port(80),), endpoints=endpoints)
    return SourceChanged("files", host, service)


def _input(event: SourceChanged) -> Callable[[merge.MergeState], merge.Step]:
    return lambda state: merge.source_changed(state, event)


def _run(
    path: Path,
    play: Callable[[Mesh, SqliteStore[Record]], Awaitable[None]],
    ranges: VipRanges | None = None,
) -> list[MeshChange]:
    changes: list[MeshChange] = []

    async def run() -> None:
        store = SqliteStore(path, record=Record, conflict=Conflict)
        mesh = Mesh(RULES, ranges or VipRanges(), store, on_changes=changes.extend)
        await mesh.start()
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(mesh.run())
            await play(mesh, store)
            task.cancel()
        store.close()

    asyncio.run(run())
    return changes


def test_a_service_is_published_with_an_address_that_is_stored_already(tmp_path: Path) -> None:
    async def play(mesh: Mesh, store: SqliteStore[Record]) -> None:
        await mesh.apply(_input(_listed(WEB, "10.0.0.1")))
        service = mesh.find("web")
        claimed = await store.get(Table.VIPS, address_key(service.vip4))
        assert claimed is not None
        assert claimed.value.decode() == WEB

    (change,) = _run(tmp_path / "s.db", play)
    assert change.before is None
    assert change.after is not None
    assert change.after.vip4.startswith("240.240.")


def test_an_address_outlives_a_restart(tmp_path: Path) -> None:
    async def play(mesh: Mesh, _: SqliteStore[Record]) -> None:
        await mesh.apply(_input(_listed(WEB, "10.0.0.1")))

    first, second = _run(tmp_path / "s.db", play), _run(tmp_path / "s.db", play)
    assert first == second


def test_an_address_that_another_replica_took_is_not_given_again(tmp_path: Path) -> None:
    ranges = VipRanges("240.240.0.0/29", "fd48:6d65:7368::/125")

    async def play(mesh: Mesh, store: SqliteStore[Record]) -> None:
        for number in range(5):
            vip4, _ = ranges.pair(number)
            await store.put_if(Table.VIPS, address_key(vip4), b"other", version=0)
        await mesh.apply(_input(_listed(WEB, "10.0.0.1")))
        assert mesh.find(WEB).vip4 == ranges.pair(5)[0]

    _run(tmp_path / "s.db", play, ranges)


def test_a_full_range_is_looked_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def candidates(host: str, ranges: VipRanges) -> Iterator[tuple[str, str]]:
        looked.append(host)
        return (ranges.pair(number) for number in range(ranges.size))

    monkeypatch.setattr(vips, "candidates", candidates)
    one = VipRanges("240.240.0.0/30", "fd48:6d65:7368::/126")

    async def play(mesh: Mesh, _: SqliteStore[Record]) -> None:
        for host in "abcde":
            listed = _input(_listed(f"{host}.default.mesh.internal", "10.0.0.1"))
            with suppress(BadInput):
                await mesh.apply(listed)
        with pytest.raises(BadInput, match=r"cannot give e\.default.* widen vip4_range$"):
            await mesh.apply(_input(_listed("e.default.mesh.internal", "10.0.0.2")))
        assert [host[0] for host in looked] == ["a", "b", "c"]

    _run(tmp_path / "s.db", play, one)


def test_a_full_range_refuses_the_new_and_keeps_the_rest_going(tmp_path: Path) -> None:
    ranges = VipRanges("240.240.0.0/30", "fd48:6d65:7368::/126")

    async def play(mesh: Mesh, _: SqliteStore[Record]) -> None:
        await mesh.apply(_input(_listed("a.default.mesh.internal", "10.0.0.1")))
        await mesh.apply(_input(_listed("b.default.mesh.internal", "10.0.0.2")))
        with pytest.raises(BadInput, match="vip4_range"):
            await mesh.apply(_input(_listed("c.default.mesh.internal", "10.0.0.3")))
        await mesh.apply(_input(_listed("a.default.mesh.internal", "10.0.0.9")))
        assert [e.key.address for e in mesh.find("a").endpoints] == ["10.0.0.9"]

    _run(tmp_path / "s.db", play, ranges)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("web", "web.default.mesh.internal, web.shop", id="two have the short name"),
        pytest.param("nothing", "hostmesh services", id="nobody has it"),
    ],
)
def test_a_name_that_means_no_one_service_is_refused(tmp_path: Path, name: str, said: str) -> None:
    async def play(mesh: Mesh, _: SqliteStore[Record]) -> None:
        await mesh.apply(_input(_listed(WEB, "10.0.0.1")))
        await mesh.apply(_input(_listed(SHOP, "10.0.0.2")))
        with pytest.raises(BadInput, match=said):
            mesh.find(name)

    _run(tmp_path / "s.db", play)


class FailingStore(MemoryStore):
    """Raises what is listed, one by one, instead of writing."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__()
        self.failures = list(failures)

    async def put_if(self, table: Table, key: str, value: bytes, *, version: int) -> Record:
        if self.failures:
            raise self.failures.pop(0)
        return await super().put_if(table, key, value, version=version)


FULL = Unreachable("cannot write the store: the disk is full")


@pytest.mark.parametrize(
    "failures",
    [
        pytest.param([FULL], id="the address cannot be claimed"),
        pytest.param([FULL] * 3, id="and not at once after it"),
        pytest.param([Conflict("claim"), FULL], id="nor after another replica's claim"),
        pytest.param([Conflict("claim"), *[Conflict("put")] * 3], id="the version moves thrice"),
    ],
)
def test_a_store_that_fails_is_tried_again_and_whoever_waits_is_told_when_it_worked(
    failures: list[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    async def run() -> None:
        store = FailingStore(*failures)
        changes: list[MeshChange] = []
        mesh = Mesh(RULES, VipRanges(), store, on_changes=changes.extend, times=Times(sleep))
        await mesh.start()
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(mesh.run())
            async with asyncio.timeout(5):
                await mesh.apply(_input(_listed(WEB, "10.0.0.1")))
            assert [change.host for change in changes] == [WEB]
            assert await store.get(Table.VIPS, f"host/{WEB}") is not None
            task.cancel()

    asyncio.run(run())
    assert len(pauses) == sum(isinstance(f, Unreachable) for f in failures) or len(pauses) == 2
    said = [r for r in caplog.records if "store failed" in r.message]
    assert len(said) == sum(isinstance(f, Unreachable) for f in failures), "once per failure"
