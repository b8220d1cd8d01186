import asyncio
from collections.abc import Awaitable, Callable

from hostmesh_agent.app.health import Addresses, HealthService
from hostmesh_agent.config import CheckKind, HealthCheck, ServiceConfig
from hostmesh_agent.edges.probes import Check, CheckFailed
from hostmesh_agent.logic.health import AppHealth
from hostmesh_testing.fixed import ManualClock

WEB = ServiceConfig(name="web", port=8080, health=HealthCheck(kind=CheckKind.HTTP, path="/health"))
API = ServiceConfig(name="api", port=9090)


class World:
    """Apps that are well unless a test says otherwise."""

    def __init__(self, *services: ServiceConfig) -> None:
        self.clock = ManualClock()
        self.failures: dict[int, str] = {}
        self.asked: list[Check] = []
        self.told: list[str] = []
        self.registered: list[str] = []
        self.health = HealthService(
            services,
            ask=self.ask,
            addresses=Addresses(lambda _: self.registered, lambda: {"10.0.0.4"}),
            on_change=self.changed,
            clock=self.clock,
            jitter=lambda: 0.5,
        )

    async def ask(self, check: Check) -> None:
        self.asked.append(check)
        if failure := self.failures.get(check.port):
            raise CheckFailed(failure)

    def changed(self, service: ServiceConfig, state: AppHealth) -> None:
        self.told.append(f"{service.name} {'up' if state.healthy else state.reason}")

    def ports(self) -> set[int]:
        return {check.port for check in self.asked}


def play(scene: Callable[[World], Awaitable[None]], *services: ServiceConfig) -> None:
    async def whole() -> None:
        world = World(*services)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(world.health.run())
            await world.clock.settle()
            await scene(world)
            running.cancel()

    asyncio.run(whole())


def test_each_service_is_asked_as_it_says_and_only_changes_are_told() -> None:
    async def scene(world: World) -> None:
        await world.clock.pass_(10)
        assert sorted(world.told) == ["api up", "web up"]
        assert {(c.port, c.path, c.source) for c in world.asked} == {
            (8080, "/health", "127.0.0.6"),
            (9090, "", "127.0.0.6"),
        }
        assert 8 <= len(world.asked) <= 12, "about every two seconds each"

    play(scene, WEB, API)


def test_a_dead_app_is_told_after_two_failures_and_again_when_it_is_back() -> None:
    async def scene(world: World) -> None:
        await world.clock.pass_(4)
        world.failures[9090] = "connection refused"
        await world.clock.pass_(2.6)
        assert world.told == ["api up", "api connection refused"], "doubt is settled quickly"
        world.failures.clear()
        await world.clock.pass_(2.1)
        assert world.told[-1] == "api up"

    play(scene, API)


def test_the_proof_s_result_is_the_first_health_and_is_told() -> None:
    async def scene(world: World) -> None:
        world.health.seed(API, "")
        assert world.told == ["api up"]
        await world.clock.pass_(10)
        assert world.told == ["api up"]

    play(scene, API)


def test_the_address_that_peers_dial_is_asked_as_soon_as_it_is_known() -> None:
    async def scene(world: World) -> None:
        await world.clock.pass_(3)
        world.registered = ["10.0.0.4"]
        await world.clock.pass_(3)
        addresses = [check.address for check in world.asked]
        assert addresses[0] == "127.0.0.1"
        assert addresses[-1] == "10.0.0.4"

    play(scene, API)


def test_a_changed_configuration_is_followed_and_what_stays_keeps_its_health() -> None:
    async def scene(world: World) -> None:
        await world.clock.pass_(3)
        world.health.replace((API,))
        await world.clock.settle()
        world.asked.clear()
        await world.clock.pass_(6)
        assert world.ports() == {9090}
        assert list(world.health.states) == [API.key]
        assert sorted(world.told) == ["api up", "web up"], "nobody is told of what did not change"

    play(scene, WEB, API)
