"""A host's registration, the store that is full, hangs or is slow, and what others are told."""

import asyncio

import pytest

from hostmesh_controlplane.app import telling
from hostmesh_controlplane.logic.store import Table
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import Unreachable
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Health
from hostmesh_testing.hosts import HOST, OTHER, until
from hostmesh_testing.hosts_play import WEB, World, play, web

FULL = Unreachable("cannot use the store: database or disk is full")
SICK = pb.HealthReport(service="web", workload_port=8080, status=pb.STATUS_UNHEALTHY)


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "SETTLE_SECONDS", 0.05)


def told(world: World, host_id: str = HOST) -> list[str]:
    return [str(key) for i in world.mesh.instances.get(host_id, ()) for key in i.keys]


def test_what_a_full_store_does_not_take_is_told_to_nobody_and_the_host_learns_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(world: World) -> None:
        world.store.fail = FULL
        agent = world.agent().connect()
        agent.register(web())
        await until(agent.verdicts)
        assert told(world) == []
        (service,) = agent.verdicts()[0].services
        assert service.accepted, "the host keeps it, it only waits"
        assert not service.registered
        assert service.reason.startswith("not stored yet, so no other host is told of it: cannot")
        assert "disk is full" in service.reason
        assert "store is slow to take in a registration" in caplog.text

        world.store.fail = None
        await world.clock.pass_(1.0)

        assert told(world) == ["10.0.0.4:8080"]
        await until(lambda: len(agent.verdicts()) == 2)
        assert agent.verdicts()[1].services[0].reason == ""
        assert agent.verdicts()[1].services[0].registered
        (record,) = await world.store.list(Table.REGISTRATIONS)
        assert record.key == HOST

    play(scene)


def test_it_is_stored_before_the_mesh_is_told() -> None:
    async def scene(world: World) -> None:
        world.store.gate = asyncio.Event()
        agent = world.agent().connect()
        agent.register(web())
        await world.clock.settle()
        assert (told(world), agent.verdicts()) == ([], [])
        world.store.gate.set()
        await world.clock.settle()
        assert told(world) == ["10.0.0.4:8080"]
        assert len(agent.verdicts()) == 1

    play(scene)


def test_a_store_that_hangs_holds_up_neither_streams_nor_what_is_stored_already() -> None:
    async def scene(world: World) -> None:
        stored = world.agent().connect()
        stored.register(web())
        await world.clock.settle()
        world.store.gate = asyncio.Event()
        other = world.agent(OTHER, session=b"o" * 16, address="10.0.0.5").connect()
        other.register(web())
        stored.say(health=SICK)
        assert world.mesh.instances[HOST][0].health is Health.UNHEALTHY
        assert told(world, OTHER) == []
        stored.register(web(weight=7))
        assert world.mesh.instances[HOST][0].weight == 7
        assert stored.verdicts()[-1].generation == 2, "it waits for nothing"
        await until(other.verdicts)
        assert "the store does not answer" in other.verdicts()[0].services[0].reason
        other.say(drain=pb.Drain())
        other.say(renew=pb.Renew())
        assert world.keys(OTHER) == []
        world.store.gate.set()
        await world.clock.settle()
        assert [one.key for one in await world.store.list(Table.REGISTRATIONS)] == [HOST]
        assert told(world, OTHER) == []

    play(scene)


def test_who_answers_an_operator_can_wait_until_all_that_a_host_holds_is_told() -> None:
    async def scene(world: World) -> None:
        await world.hosts.stored(HOST)
        world.store.gate = asyncio.Event()
        world.agent().connect().register(web())
        waiting = asyncio.ensure_future(world.hosts.stored(HOST))
        await world.clock.settle()
        assert not waiting.done()
        world.store.gate.set()
        await waiting
        assert told(world) == ["10.0.0.4:8080"]
        world.store.gate.clear()
        world.agent().connect().register()
        await world.hosts.stored(HOST)

    play(scene)


def test_a_second_service_waits_and_the_first_goes_on() -> None:
    async def scene(world: World) -> None:
        world.authorities.records[HOST].grant = Grant(
            claims=(Claim("default", "web", "web"), Claim("default", "api", "api"))
        )
        agent = world.agent().connect()
        agent.register(web())
        await world.clock.settle()
        world.store.gate = asyncio.Event()
        agent.register(web(), web(service="api", workload_port=9090))
        await until(lambda: len(agent.verdicts()) == 2)
        assert told(world) == ["10.0.0.4:8080"]
        first, second = agent.verdicts()[1].services
        assert (first.reason, second.reason[:10]) == ("", "not stored")
        world.store.gate.set()
        await world.clock.settle()
        assert told(world) == ["10.0.0.4:8080", "10.0.0.4:9090"]

    play(scene)


def test_a_second_address_waits_and_the_first_stays() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        await world.clock.settle()
        world.store.gate = asyncio.Event()
        world.agent(address="fd00::4").connect(proof=True)
        await world.clock.settle()
        assert told(world) == ["10.0.0.4:8080"]
        assert world.mesh.told.count(f"instances {HOST[:4]} 1") == 1
        world.store.gate.set()
        await world.clock.settle()
        assert told(world) == ["10.0.0.4:8080", "[fd00::4]:8080"]

    play(scene)


def test_the_place_that_it_moved_from_is_out_while_the_new_one_waits() -> None:
    async def scene(world: World) -> None:
        cidrs = ("10.9.0.0/16",)
        world.authorities.records[HOST].grant = Grant((Claim("default", "web", "web"),), cidrs)
        agent = world.agent().connect()
        agent.register(web(), host_addresses=["10.0.0.4", "10.9.0.4"])
        await world.clock.settle()
        world.store.gate = asyncio.Event()
        world.mesh.catalog[WEB] = {EndpointKey("", "10.9.0.4", 8080)}
        world.hosts.catalog_changed([WEB])
        assert world.mesh.told[-2:] == [f"withdrawn {HOST[:4]} 1", f"instances {HOST[:4]} 0"]
        world.store.gate.set()
        await world.clock.settle()
        assert told(world) == ["10.9.0.4:8080"]

    play(scene)


def test_what_was_stored_is_told_at_the_next_start_whatever_the_store_does() -> None:
    async def before(world: World) -> None:
        world.agent().connect().register(web())
        await world.clock.settle()

    first = play(before)

    async def after(world: World) -> None:
        world.store.gate = asyncio.Event()
        await world.hosts.restore()
        assert told(world) == ["10.0.0.4:8080"]

    play(after, lambda: World(store=first.store))
