"""A host that says much: it is taken in as it comes, and looked at within the host's allowance."""

import pytest

from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.model import Health
from hostmesh_testing.hosts import HOST, OTHER
from hostmesh_testing.hosts_play import NEXT_SESSION, Agent, World, play, web

MANY = 60
FIRST = 10_000


def _looks(world: World) -> int:
    """Count the looks that changed something of what is stored and so known to the mesh."""
    return sum(told.startswith("instances 7f3a") for told in world.mesh.told)


def _register(agent: Agent, number: int) -> None:
    """Declare other ports than the time before."""
    first = FIRST + number * MANY
    agent.register(*(web(port=port, workload_port=port) for port in range(first, first + MANY)))


def _report(agent: Agent, status: pb.Status, *, port: int = 8080, reason: str = "") -> None:
    agent.say(
        health=pb.HealthReport(service="web", workload_port=port, status=status, reason=reason)
    )


def _use_up(agent: Agent) -> int:
    """Say so much that the next word has to wait; give the number of Registers."""
    for number in range(100):
        _register(agent, number)
    return 100


def test_of_a_flood_of_registers_few_are_looked_at_and_the_last_one_counts() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        _use_up(agent)
        assert 1 <= world.mesh.shown <= 6
        await world.clock.pass_(3.0)
        assert world.mesh.shown <= 7
        assert world.keys()[0] == f"10.0.0.4:{FIRST + 99 * MANY}"
        assert len(world.keys()) == MANY
        assert agent.verdicts()[-1].generation == 100
        assert all(service.accepted for service in agent.verdicts()[-1].services)

    play(scene)


def test_in_the_long_run_a_host_changes_what_it_declares_once_a_second() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        begun = _use_up(agent)
        before = world.mesh.shown
        for number in range(begun, begun + 100):
            _register(agent, number)
            await world.clock.pass_(0.2)
        assert 10 <= world.mesh.shown - before <= 21

    play(scene)


def test_of_a_flood_of_health_reports_few_are_looked_at_and_the_last_one_counts() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        _register(agent, 0)
        await world.clock.settle()
        before = _looks(world)
        for number in range(1000):
            status = pb.STATUS_UNHEALTHY if number % 2 else pb.STATUS_HEALTHY
            _report(agent, status, port=FIRST, reason=str(number))
        assert _looks(world) - before < 40
        await world.clock.pass_(1.0)
        assert world.mesh.instances[HOST][0].reasons == ("999",)

    play(scene)


def test_of_a_flood_of_drains_few_are_looked_at_and_the_hosts_own_are_answered() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        _register(agent, 0)
        await world.clock.settle()
        for number in range(MANY):
            agent.say(drain=pb.Drain(services=[f"web:{FIRST + number}"]))
        assert _looks(world) < 40
        await world.clock.pass_(2.0)
        assert world.keys() == []
        answers = [down.drained for down in agent.link.bodies("drained")]
        assert len(answers) == MANY
        assert all(answer.complete for answer in answers)

    play(scene)


def test_a_drain_that_waits_for_its_turn_is_answered_after_it() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        _use_up(agent)
        await world.clock.pass_(0.1)
        agent.say(drain=pb.Drain())
        await world.clock.settle()
        assert agent.link.bodies("drained") == []
        assert len(world.keys()) == MANY
        await world.clock.pass_(3.0)
        assert world.keys() == []
        (answer,) = agent.link.bodies("drained")
        assert answer.drained.complete
        assert f"drain 7f3a {MANY}" in world.mesh.told

    play(scene)


def test_a_join_and_its_apps_health_are_looked_at_at_once() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web(declared_only=True))
        agent.register(web())
        agent.register(web(), web(port=81, workload_port=8081))
        assert world.keys() == ["10.0.0.4:8080", "10.0.0.4:8081"]
        await world.clock.settle()
        for number in range(20):
            bad = number % 2 == 0
            _report(agent, pb.STATUS_UNHEALTHY if bad else pb.STATUS_HEALTHY)
            expected = Health.UNHEALTHY if bad else Health.HEALTHY
            assert world.mesh.instances[HOST][0].health is expected

    play(scene)


def test_health_that_is_told_again_costs_nothing() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        agent.register(web())
        await world.clock.settle()
        for _ in range(10_000):
            _report(agent, pb.STATUS_UNHEALTHY, reason="down")
        _report(agent, pb.STATUS_HEALTHY)
        assert world.mesh.instances[HOST][0].health is Health.HEALTHY

    play(scene)


def test_health_of_what_waits_to_be_looked_at_is_kept_for_it() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        _use_up(agent)
        agent.register(web(port=80, workload_port=9000, health=pb.STATUS_UNSPECIFIED))
        _report(agent, pb.STATUS_HEALTHY, port=9000)
        await world.clock.pass_(3.0)
        assert world.keys() == ["10.0.0.4:9000"]
        assert world.mesh.instances[HOST][0].health is Health.HEALTHY
        assert world.hosts.refusals == {}

    play(scene)


def test_a_verdict_while_a_register_waits_is_about_the_one_before() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        _use_up(agent)
        await world.clock.settle()
        known = agent.verdicts()[-1].generation
        world.hosts.upstreams_changed(HOST)
        assert agent.verdicts()[-1].generation == known < 100
        await world.clock.pass_(3.0)
        assert agent.verdicts()[-1].generation == 100

    play(scene)


@pytest.mark.parametrize("address", ["10.0.0.4", "10.0.0.5"])
def test_connecting_again_fills_no_allowance(address: str) -> None:
    async def scene(world: World) -> None:
        _use_up(world.agent().connect())
        before = _looks(world)
        agents = [
            world.agent(session=NEXT_SESSION[:-1] + bytes([number]), address=address)
            for number in range(10)
        ]
        for number, agent in enumerate(agents):
            _register(agent.connect(), number)
        assert _looks(world) == before
        await world.clock.pass_(3.0)
        assert agents[-1].verdicts()[-1].generation == 1
        assert world.keys()[0] == f"{address}:{FIRST + 9 * MANY}"

    play(scene)


def test_one_hosts_flood_delays_no_other_host() -> None:
    async def scene(world: World) -> None:
        _use_up(world.agent().connect())
        other = world.agent(OTHER, address="10.0.0.5").connect()
        other.register(web())
        assert world.keys(OTHER) == ["10.0.0.5:8080"]

    play(scene)


def test_a_host_that_is_revoked_while_it_waits_is_out_and_stays_so() -> None:
    async def scene(world: World) -> None:
        agent = world.agent().connect()
        _use_up(agent)
        world.authorities.records[HOST].revoked = True
        world.hosts.reevaluate(HOST)
        assert world.keys() == []
        await world.clock.pass_(3.0)
        assert world.keys() == []

    play(scene)
