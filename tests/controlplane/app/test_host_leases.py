"""How long what a host has registered counts: silence, broken streams, restarts, holds."""

import logging

import pytest

from hostmesh_controlplane.app.host_contracts import HostsConfig
from hostmesh_controlplane.app.hosts import FORGET_SECONDS, Hosts
from hostmesh_controlplane.logic.store import Table
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput
from hostmesh_testing.fixed import CountingEntropy
from hostmesh_testing.hosts import DOMAIN, HOST, OTHER, FakeAuthorities, FakeMesh
from hostmesh_testing.hosts_play import World, play, web
from hostmesh_testing.memory_store import MemoryStore


def test_a_silent_host_is_out_when_its_lease_ends_and_is_back_when_it_renews() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        for _ in range(5):
            await world.clock.pass_(4)
            agent.say(renew=pb.Renew())
        assert world.keys() == ["10.0.0.4:8080"]
        await world.clock.pass_(11.4)
        assert world.keys() == ["10.0.0.4:8080"]
        await world.clock.pass_(1.1)
        assert world.keys() == []
        assert world.mesh.told[-1] == "lease ended 7f3a 1"
        agent.say(renew=pb.Renew())
        assert world.keys() == ["10.0.0.4:8080"], "it returns with all that it had registered"

    play(scene)


def test_a_stream_that_breaks_ends_nothing_until_the_lease_does() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        agent.leave()
        assert world.mesh.told[-1] == "disconnected 7f3a"
        await world.clock.pass_(8)
        assert world.keys() == ["10.0.0.4:8080"]
        agent.connect(replica=agent.link.bodies("welcome")[0].welcome.replica, last_seen=99)
        agent.say(renew=pb.Renew())
        await world.clock.pass_(8)
        assert world.keys() == ["10.0.0.4:8080"]

    play(scene)


def test_a_host_that_waits_for_an_address_gets_it_when_the_former_s_lease_ends() -> None:
    async def scene(world: World) -> None:
        world.agent(OTHER).connect().register(web())
        later = world.agent().connect()
        later.register(web())
        assert world.keys() == []
        assert "has registered it" in later.verdicts()[-1].services[0].reason
        await world.clock.pass_(8)
        later.say(renew=pb.Renew())
        await world.clock.pass_(5)
        assert world.keys(OTHER) == []
        assert world.keys() == ["10.0.0.4:8080"]
        assert later.verdicts()[-1].services[0].accepted

    play(scene)


def test_a_restart_gives_stored_registrations_one_full_lease() -> None:
    async def before(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        agent.say(
            health=pb.HealthReport(
                service="web", workload_port=8080, status=pb.STATUS_UNHEALTHY, reason="503"
            )
        )
        await world.clock.settle()

    first = play(before)

    async def after(world: World) -> None:
        await world.hosts.restore()
        assert world.keys() == ["10.0.0.4:8080"]
        assert world.mesh.instances[HOST][0].reasons == ("503",)
        await world.clock.pass_(11)
        assert world.keys() == ["10.0.0.4:8080"]
        await world.clock.pass_(2)
        assert world.keys() == []
        assert await world.store.list(Table.REGISTRATIONS) == []

    play(after, lambda: World(store=first.store))


def test_a_restored_host_that_is_back_within_its_lease_loses_nothing() -> None:
    async def before(world: World) -> None:
        world.agent().connect().register(web())
        await world.clock.settle()

    first = play(before)

    async def after(world: World) -> None:
        await world.hosts.restore()
        await world.clock.pass_(3)
        agent = world.agent().connect()
        assert agent.welcome.last_seen == 0, "a new replica has seen nothing"
        agent.register(web())
        for _ in range(4):
            await world.clock.pass_(4)
            agent.say(renew=pb.Renew())
        assert world.mesh.told == [
            "instances 7f3a 1",
            "connected 7f3a 10.0.0.4",
        ]

    play(after, lambda: World(store=first.store))


def test_a_registration_of_a_host_that_was_revoked_meanwhile_is_not_restored() -> None:
    async def before(world: World) -> None:
        world.agent().connect().register(web())
        await world.clock.settle()

    first = play(before)

    async def after(world: World) -> None:
        world.authorities.records[HOST].revoked = True
        await world.hosts.restore()
        assert world.keys() == []
        await world.clock.settle()
        assert await world.store.list(Table.REGISTRATIONS) == []

    play(after, lambda: World(store=first.store))


def test_an_address_from_before_the_lease_ended_counts_no_more() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web(addresses=["10.0.0.4"]))
        agent.leave()
        await world.clock.pass_(13)
        moved = world.agent(address="10.0.0.5").connect()
        moved.say(renew=pb.Renew())
        assert world.keys() == []
        assert "the control plane sees 10.0.0.5" in world.hosts.refused(HOST)[0]

    play(scene)


def test_an_address_that_moved_counts_for_one_more_lease() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web(addresses=["10.0.0.4"]))
        agent.leave()
        agent.address = "10.0.0.5"
        agent.connect(replica=agent.welcome.replica)
        assert world.keys() == ["10.0.0.4:8080"]
        for _ in range(4):
            await world.clock.pass_(4)
            agent.say(renew=pb.Renew())
        assert world.keys() == []

    play(scene)


def test_a_host_without_stream_and_lease_is_forgotten_after_a_while() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web(declared_only=True))
        replica = agent.welcome.replica
        agent.leave()
        await world.clock.pass_(FORGET_SECONDS + 1)
        assert world.mesh.told[-1] == "forget 7f3a"
        assert agent.connect(replica=replica).welcome.replica != replica

    play(scene)


def test_a_host_is_not_forgotten_while_its_proxy_follows_the_mesh() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.leave()
        world.mesh.following.add(HOST)
        await world.clock.pass_(FORGET_SECONDS + 1)
        assert world.mesh.told[-1] == "disconnected 7f3a"
        world.mesh.following.clear()
        await world.clock.pass_(FORGET_SECONDS + 1)
        assert world.mesh.told[-1] == "forget 7f3a"

    play(scene)


def test_a_host_is_not_forgotten_while_a_stream_proves_an_address_of_it() -> None:
    async def scene(world: World) -> None:
        main = world.agent().connect()
        proofs = [world.agent(address=a).connect(proof=True) for a in ("10.0.0.5", "10.0.0.6")]
        main.leave()
        await world.clock.pass_(FORGET_SECONDS + 1)
        proofs[0].leave()
        await world.clock.pass_(30)
        again = main.connect(replica=main.welcome.replica)
        again.register(web(addresses=["10.0.0.6"]))
        assert world.keys() == ["10.0.0.6:8080"], "the proof that is open still counts"

    play(scene)


def test_a_host_that_only_proves_an_address_is_forgotten_when_its_streams_end() -> None:
    async def scene(world: World) -> None:
        main = world.agent().connect()
        proof = world.agent(address="10.0.0.5").connect(proof=True)
        replica = main.welcome.replica
        main.leave()
        await world.clock.pass_(FORGET_SECONDS + 1)
        proof.leave()
        await world.clock.pass_(FORGET_SECONDS + 1)
        assert main.connect(replica=replica).welcome.replica != replica

    play(scene)


def test_too_many_silent_hosts_are_held_until_an_operator_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="hostmesh_controlplane.app.hosts")

    def many() -> World:
        world = World()
        ids = [f"{number:032x}" for number in range(1, 11)]
        world.authorities = FakeAuthorities(*ids)
        world.hosts = Hosts(
            HostsConfig(trust_domain=DOMAIN),
            world.store,
            world.authorities,
            mesh=world.mesh,
            clock=world.clock,
            entropy=CountingEntropy(),
        )
        return world

    async def scene(world: World) -> None:
        with pytest.raises(BadInput, match="none is held"):
            world.hosts.end_held()
        ids = sorted(world.authorities.records)
        for number, host in enumerate(ids):
            agent = world.agent(host, address=f"10.0.1.{number}").connect()
            agent.register(web())
            agent.leave()
        await world.clock.pass_(40)
        assert world.hosts.held == tuple(ids)
        assert all(world.keys(host) for host in ids)
        assert world.hosts.end_held() == tuple(ids)
        await world.clock.pass_(1)
        assert not any(world.keys(host) for host in ids)
        assert world.hosts.held == ()

    play(scene, many)
    said = [(r.levelname, r.getMessage()) for r in caplog.records if "held" in r.getMessage()]
    assert said[-1] == ("INFO", "no lease is held any more")
    assert all(text.endswith(f"{10:032x}") for level, text in said if level == "ERROR")


def test_what_a_host_serves_is_known_after_a_restart_before_it_is_back() -> None:
    store, before = MemoryStore(), FakeMesh()

    async def first(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web(), web(workload_port=9090, declared_only=True))
        await world.hosts._stored.flushed()

    play(first, lambda: World(store, before))
    after = FakeMesh()

    async def second(world: World) -> None:
        assert after.said == set()
        await world.hosts.restore()
        assert after.said == {HOST}
        assert after.inbound == before.inbound
        assert {one.workload_port for one in after.inbound[HOST]} == {8080, 9090}
        assert after.outbound == before.outbound
        assert world.keys() == ["10.0.0.4:8080"], "what was only declared does not count"

    play(second, lambda: World(store, after))
