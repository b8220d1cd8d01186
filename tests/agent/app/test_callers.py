import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from hostmesh_agent.app.callers import SAVE_SECONDS, CallersService, Surroundings
from hostmesh_agent.config import ServiceConfig
from hostmesh_agent.edges.envoy_admin import AdminUnreachable
from hostmesh_agent.edges.runner_client import Process
from hostmesh_agent.logic.callers import Caller, Window
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_testing.fixed import ManualClock

WEB = ServiceConfig(name="web", port=8080)
TOTAL = "hostmesh.callers.plaintext.port.8080"
FROM = "hostmesh.callers.plaintext_from.port.8080.caller.10.1.0.9"
ADDRESS = "10.1.0.9"


class FakeAdmin:
    """Envoy's admin."""

    def __init__(self) -> None:
        self.calls = 0
        self.away = False
        self.says = 0

    async def counters(self, pattern: str) -> dict[str, int]:
        assert pattern.startswith("^hostmesh")
        if self.away:
            raise AdminUnreachable("cannot reach Envoy's admin")
        return {TOTAL: self.calls, FROM: self.calls} if self.calls else {}

    async def epoch(self) -> int:
        return self.says


class FakeEnvoy:
    """Envoy, as the agent knows it."""

    def __init__(self) -> None:
        self.admin = FakeAdmin()
        self.serving = True
        self.epoch: int | None = 0
        self.process: Process | None = Process(7, 100)


class World:
    """An Envoy that counts, a control plane that listens, a disk."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "callers.json"
        self.clock = ManualClock()
        self.envoy = FakeEnvoy()
        self.captured = self.joined = True
        self.report_seconds = 10.0
        self.reports: list[pb.Callers] = []

    def report_callers(self, report: pb.Callers) -> None:
        self.reports.append(report)

    def service(self) -> CallersService:
        around = Surroundings(
            services=lambda: [WEB],
            captured=lambda: self.captured,
            joined=lambda: self.joined,
            clock=self.clock,
        )
        return CallersService(str(self.path), self.envoy, self, around)


Scene = Callable[[CallersService], Awaitable[None]]


def play(world: World, scene: Scene) -> CallersService:
    async def whole() -> CallersService:
        service = world.service()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(service.run())
            await world.clock.settle()
            await scene(service)
            running.cancel()
        return service

    return asyncio.run(whole())


def test_callers_are_seen_and_told_when_they_change(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scene(service: CallersService) -> None:
        (first,) = world.reports  # that it counts, and since when
        assert first.services[0].plaintext == 0
        world.envoy.admin.calls = 14
        await world.clock.pass_(2)
        assert service.window(WEB.key) == Window(2, 14, 0, (ADDRESS,))
        assert len(world.reports) == 1
        await world.clock.pass_(60)
        assert [one.services[0].plaintext for one in world.reports] == [0, 14]

    play(world, scene)


def test_a_new_agent_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def call(_: CallersService) -> None:
        world.envoy.admin.calls += 5
        await world.clock.pass_(2)

    play(world, call)
    since = world.clock.now - 2
    world.envoy.admin.calls += 2  # while no agent was there
    service = play(world, call)
    counted = service.counted(WEB.key)
    assert counted is not None
    assert counted.since == since
    assert counted.callers == {ADDRESS: Caller(12, since + 2, since + 4)}


def test_a_killed_agent_has_kept_a_book_too(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scene(_: CallersService) -> None:
        world.envoy.admin.calls = 3
        await world.clock.pass_(SAVE_SECONDS + 4)
        assert b'"plaintext":3' in world.path.read_bytes()

    play(world, scene)


def test_nothing_is_counted_where_callers_may_pass_envoy_by(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.captured = False

    async def scene(service: CallersService) -> None:
        await world.clock.pass_(10)
        assert service.counted(WEB.key) is None
        assert world.reports == []
        world.captured = True
        await world.clock.pass_(2)
        counted = service.counted(WEB.key)
        assert counted is not None
        assert counted.since == world.clock.now

    play(world, scene)


def test_another_envoys_numbers_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scene(service: CallersService) -> None:
        world.envoy.admin.calls = 9
        await world.clock.pass_(2)
        # A hot restart: the admin is the new Envoy's already, and the agent does not know yet.
        world.envoy.admin.says, world.envoy.admin.calls = 1, 10
        await world.clock.pass_(4)
        assert _plaintext(service) == 9
        world.envoy.epoch, world.envoy.process = 1, Process(8, 200)
        await world.clock.pass_(2)
        assert _plaintext(service) == 19

    play(world, scene)


def test_an_envoy_that_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.envoy.admin.away = True

    async def scene(service: CallersService) -> None:
        await world.clock.pass_(2)
        assert service.counted(WEB.key) is None
        world.envoy.admin.away = False
        await world.clock.pass_(2)
        assert _plaintext(service) == 0

    play(world, scene)


def test_a_host_that_has_left_keeps_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def scene(_: CallersService) -> None:
        world.envoy.admin.calls = 1
        await world.clock.pass_(2)
        world.path.unlink(missing_ok=True)
        world.joined = False

    play(world, scene)
    assert not world.path.exists()


def test_a_book_that_cannot_be_read_is_begun_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.path.write_bytes(b"{")

    async def scene(service: CallersService) -> None:
        await world.clock.pass_(2)
        assert _plaintext(service) == 0

    play(world, scene)


def _plaintext(service: CallersService) -> int:
    counted = service.counted(WEB.key)
    assert counted is not None
    return counted.plaintext
