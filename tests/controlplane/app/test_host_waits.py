"""What the registry of hosts waits for before it answers, and how long: mesh, proxies, hosts."""

import asyncio

import pytest

from hostmesh_controlplane.app import telling
from hostmesh_controlplane.app.host_contracts import HostsConfig
from hostmesh_controlplane.app.host_queries import HostSilent
from hostmesh_controlplane.app.hosts import Hosts
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput
from hostmesh_testing.fixed import CountingEntropy
from hostmesh_testing.hosts import DOMAIN, HOST, until
from hostmesh_testing.hosts_play import WEB, World, play, web


def test_a_drain_deregisters_at_once_and_is_answered_when_everybody_has_applied_it() -> None:
    async def scene(world: World) -> None:
        world.mesh.drain_gate = asyncio.Event()
        agent = world.agent().connect()
        agent.register(web())
        agent.say(drain=pb.Drain(services=[WEB]))
        agent.say(drain=pb.Drain(services=[WEB]))
        await world.clock.settle()
        assert world.keys() == []
        assert world.mesh.inbound[HOST], "the chains stay: requests are still on their way"
        assert agent.link.bodies("drained") == []
        world.mesh.drain_gate.set()
        await world.clock.settle()
        (answer,) = agent.link.bodies("drained")
        assert answer.drained == pb.Drained(services=[WEB], complete=True)
        assert world.mesh.told.count("drain 7f3a 1") == 1

    play(scene)


def test_a_verdict_waits_until_the_mesh_has_taken_the_registration_in() -> None:
    async def scene(world: World) -> None:
        world.mesh.taking_in = asyncio.get_running_loop().create_future()
        agent = world.agent().connect()
        agent.register(web())
        await world.clock.settle()
        assert agent.verdicts() == []
        world.mesh.taking_in.set_result(None)
        await world.clock.settle()
        assert len(agent.verdicts()) == 1

    play(scene)


def test_a_mesh_that_cannot_take_it_in_does_not_keep_the_host_waiting() -> None:
    async def scene(world: World) -> None:
        world.mesh.taking_in = asyncio.get_running_loop().create_future()
        agent = world.agent().connect()
        agent.register(web())
        world.mesh.taking_in.set_exception(BadInput("cannot find a free virtual address"))
        await world.clock.settle()
        assert len(agent.verdicts()) == 1

    play(scene)


def test_a_mesh_that_is_too_slow_does_not_keep_the_host_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling, "SETTLE_SECONDS", 0.05)

    async def scene(world: World) -> None:
        world.mesh.taking_in = asyncio.get_running_loop().create_future()
        agent = world.agent().connect()
        agent.register(web())
        await until(agent.verdicts)
        assert len(agent.verdicts()) == 1
        assert not world.mesh.taking_in.cancelled(), "others wait for it too"

    play(scene)


def test_a_drain_that_nobody_applies_is_answered_as_incomplete_in_time() -> None:
    def hasty() -> World:
        world = World()
        world.hosts = Hosts(
            HostsConfig(trust_domain=DOMAIN, drain_seconds=0.05),
            world.store,
            world.authorities,
            mesh=world.mesh,
            clock=world.clock,
            entropy=CountingEntropy(),
        )
        world.mesh.drain_gate = asyncio.Event()
        return world

    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        agent.say(drain=pb.Drain())
        await until(lambda: agent.link.bodies("drained"))
        assert agent.link.bodies("drained")[0].drained.complete is False

    play(scene, hasty)


def test_a_drain_of_what_is_not_registered_is_answered_at_once() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.say(drain=pb.Drain())
        await world.clock.settle()
        assert agent.link.bodies("drained")[0].drained.complete

    play(scene)


@pytest.mark.parametrize(
    ("services", "left"),
    [
        pytest.param(["payments"], ["10.0.0.4:8080"], id="of others alone"),
        pytest.param(["payments", "web"], [], id="of others beside its own"),
    ],
)
def test_a_drain_of_what_is_not_the_host_s_is_refused_and_never_complete(
    services: list[str], left: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        agent.say(drain=pb.Drain(services=services))
        await world.clock.settle()
        (answer,) = agent.link.bodies("drained")
        assert answer.drained == pb.Drained(services=services, complete=False)
        assert world.keys() == left
        assert world.hosts.refusals == {"not_declared": 1}

    play(scene)
    assert "a drain of payments, which it does not declare" in caplog.text


@pytest.mark.parametrize("name", ["web", WEB])
def test_a_drain_asked_for_again_after_its_answer_is_complete_again(name: str) -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        for _ in range(2):
            agent.say(drain=pb.Drain(services=[name]))
            await world.clock.settle()
        answers = [item.drained.complete for item in agent.link.bodies("drained")]
        assert answers == [True, True]
        assert world.hosts.refusals == {}

    play(scene)


def test_health_of_a_service_that_the_host_has_not_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        agent.say(health=pb.HealthReport(service="web", workload_port=8080))
        assert world.hosts.refusals == {}
        agent.say(health=pb.HealthReport(service="payments", workload_port=8080))
        assert world.hosts.refusals == {"not_declared": 1}

    play(scene)
    assert "a health report of payments, which it does not declare" in caplog.text


def test_a_question_is_answered_on_the_stream() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()

        async def reply() -> None:
            await world.clock.settle()
            query = agent.link.bodies("query")[0].query
            agent.say(answer=pb.Answer(query_id="of another", body=b"no"))
            agent.say(answer=pb.Answer(query_id=query.query_id, body=b"yes"))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reply())
            answer = await world.hosts.query(HOST, "admin", {"path": "/stats"})
        assert answer.body == b"yes"

    play(scene)


def test_a_host_that_is_not_connected_cannot_be_asked() -> None:
    async def scene(world: World) -> None:
        with pytest.raises(HostSilent, match="not connected"):
            await world.hosts.query(HOST, "admin", {})

    play(scene)


def test_a_port_that_moves_has_two_declarations_and_either_can_be_drained_alone() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        old, new = web(port=80), web(port=80, workload_port=9090)
        agent.register(old, new)
        assert sorted(world.keys()) == ["10.0.0.4:8080", "10.0.0.4:9090"]
        await world.clock.settle()
        told = [(s.service, s.port, s.workload_port) for s in agent.verdicts()[-1].services]
        assert told == [("web", 80, 8080), ("web", 80, 9090)]
        agent.say(drain=pb.Drain(services=["web:8080"]))
        await world.clock.settle()
        assert world.keys() == ["10.0.0.4:9090"]
        assert agent.link.bodies("drained")[0].drained.complete
        agent.register(web(port=80, declared_only=True), new)
        assert world.keys() == ["10.0.0.4:9090"], "what has left is not back by being declared"

    play(scene)


def test_a_refusal_names_the_declaration_that_it_is_about() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web(port=80), web(service="api", port=80, workload_port=9090))
        await world.clock.settle()
        refused = [s for s in agent.verdicts()[-1].services if not s.accepted]
        assert [(s.service, s.port, s.workload_port) for s in refused] == [("api", 80, 9090)]

    play(scene)
