"""Envoy's life on the real Envoy: everything here starts processes."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hostmesh_agent.app.envoy import Callbacks, EnvoyService, Node
from hostmesh_agent.edges import http_get, worker_probe
from hostmesh_agent.logic.lifecycle import Phase
from hostmesh_core.errors import Refused
from hostmesh_testing import small_listeners
from hostmesh_testing.envoy_host import FAST, EnvoyHost, envoy_host
from hostmesh_testing.rooted_layout import free_ports
from hostmesh_testing.waiting import wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def host() -> Iterator[EnvoyHost]:
    with envoy_host() as made:
        yield made


@dataclass
class Heard:
    """What the service told the rest of the agent."""

    phases: list[Phase] = field(default_factory=list)
    running: list[tuple[int, int]] = field(default_factory=list)
    down: list[str] = field(default_factory=list)
    loops: list[int] = field(default_factory=list)

    def callbacks(self) -> Callbacks:
        return Callbacks(
            on_state=lambda phase, _: self.phases.append(phase),
            on_running=lambda epoch, pid: self.running.append((epoch, pid)),
            on_down=self.down.append,
            on_crash_loop=self.loops.append,
        )


Scenario = Callable[[EnvoyService], Awaitable[None]]


def agent(host: EnvoyHost, scenario: Scenario) -> Heard:
    """Run one agent's Envoy service for as long as the scenario takes."""
    heard = Heard()

    async def run() -> None:
        service = EnvoyService(host.config, host.layout, Node(id="test"), heard.callbacks())
        task = asyncio.ensure_future(service.run())
        try:
            async with asyncio.timeout(60):
                await scenario(service)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())
    return heard


async def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  the condition is another process's
            await asyncio.sleep(0.005)


async def serving(service: EnvoyService) -> int:
    """Bring Envoy up; gives its pid."""
    service.want(up=True)
    await until(lambda: service.serving)
    assert service.pid is not None
    return service.pid


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def hello(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    answer = await http_get.fetch(reader, writer, http_get.Ask("/"), max_bytes=1000)
    assert answer.status == 200, port
    return answer.body


async def hello_once(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await hello(port, reader, writer)
    finally:
        writer.close()


def test_starts_when_wanted_and_is_proven_by_a_worker(host: EnvoyHost) -> None:
    host.start_runner()
    host.start_relay()

    async def scenario(service: EnvoyService) -> None:
        await until(lambda: service.phase is Phase.STOPPED)
        assert not service.alive
        await serving(service)
        answer = await worker_probe.probe(host.config.ports.readiness)
        assert answer == worker_probe.Probed(ready=True, epoch=0)
        info = await service.admin.server_info()
        assert info["state"] == "LIVE"
        assert await service.admin.is_ready()
        assert (await service.admin.stats("^server.live$")) == {"server.live": 1}
        assert b"envoy_server_live" in await service.admin.prometheus()

    heard = agent(host, scenario)
    assert heard.phases == [Phase.STOPPED, Phase.STARTING, Phase.RUNNING]
    assert len(heard.running) == 1
    assert not heard.down


def test_a_killed_envoy_is_back_within_a_second(host: EnvoyHost) -> None:
    host.start_runner()
    host.start_relay()
    took: list[float] = []

    async def scenario(service: EnvoyService) -> None:
        pid = await serving(service)
        os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        await until(lambda: not service.serving)
        await until(lambda: service.serving)
        took.append(time.monotonic() - begun)
        assert service.epoch == 0
        assert service.pid != pid

    heard = agent(host, scenario)
    assert heard.down == ["epoch 0 ended with signal 9"]
    assert took[0] < 1.0


def test_a_hot_restart_loses_no_request_and_keeps_what_is_open(host: EnvoyHost) -> None:
    http, tcp, echo = free_ports(3)
    host.world.put(small_listeners.hello("hello", http))
    host.world.put(small_listeners.static_cluster("echo", echo))
    host.world.put(small_listeners.tcp("tcp", tcp, cluster="echo"))
    host.start_runner()
    host.start_relay()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async def load(over: asyncio.Event, served: list[bytes]) -> None:
        while not over.is_set():
            served.append(await hello_once(http))
            await asyncio.sleep(0.005)

    async def scenario(service: EnvoyService) -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", echo)
        old = await serving(service)
        held_reader, held_writer = await asyncio.open_connection("127.0.0.1", tcp)
        over, served = asyncio.Event(), list[bytes]()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load(over, served))
            await asyncio.sleep(0.2)
            await service.hot_restart()
            await asyncio.sleep(0.5)
            held_writer.write(b"still here")
            assert await held_reader.readexactly(10) == b"still here"
            over.set()
        assert set(served) == {b"hello"}
        assert len(served) > 20
        assert service.epoch == 1
        assert service.pid != old
        with pytest.raises(Refused, match="epoch 0 still has connections"):
            await service.hot_restart()
        held_writer.close()
        await until(lambda: not alive(old))  # parent_shutdown_seconds, 4 here
        server.close()
        await service.hot_restart()
        assert service.epoch == 2

    heard = agent(host, scenario)
    assert [epoch for epoch, _ in heard.running] == [0, 1, 2]
    assert not heard.down


def test_a_new_agent_goes_on_with_the_envoy_it_finds(host: EnvoyHost) -> None:
    host.start_runner()
    host.start_relay()
    pids: list[int | None] = []

    async def first(service: EnvoyService) -> None:
        pids.append(await serving(service))
        await service.hot_restart()
        pids.append(service.pid)

    async def second(service: EnvoyService) -> None:
        await until(lambda: service.serving)
        pids.append(service.pid)
        service.want(up=True)
        await asyncio.sleep(0.2)
        assert service.epoch == 1

    agent(host, first)
    heard = agent(host, second)
    assert pids[1] == pids[2] != pids[0]
    assert heard.phases[-1] is Phase.RUNNING
    assert Phase.STARTING not in heard.phases
    assert heard.running == [(1, pids[1])]


def test_a_new_agent_learns_of_an_end_that_nobody_saw(host: EnvoyHost) -> None:
    host.start_runner()
    host.start_relay()
    pids: list[int] = []

    async def first(service: EnvoyService) -> None:
        pids.append(await serving(service))

    async def second(service: EnvoyService) -> None:
        assert await serving(service) != pids[0]

    agent(host, first)
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: not alive(pids[0]), what="the runner's reaping")
    heard = agent(host, second)
    assert heard.phases == [Phase.STARTING, Phase.RUNNING]


def test_an_envoy_without_configuration_is_never_ready_and_is_killed(host: EnvoyHost) -> None:
    host.config = replace(host.config, envoy=replace(FAST, ready_seconds=0.7))
    host.start_runner()  # and no relay: it stays initializing

    async def scenario(service: EnvoyService) -> None:
        service.want(up=True)
        await until(lambda: service.pid is not None)
        pid = service.pid
        assert pid is not None
        await until(lambda: service.phase is Phase.BACKOFF)
        assert not alive(pid)

    heard = agent(host, scenario)
    assert not heard.running


def test_a_hot_restart_that_never_gets_ready_leaves_the_old_one_serving(host: EnvoyHost) -> None:
    host.config = replace(host.config, envoy=replace(FAST, ready_seconds=1.0))
    host.start_runner()
    relay = host.start_relay()

    async def scenario(service: EnvoyService) -> None:
        pid = await serving(service)
        relay.stop()
        with pytest.raises(Refused, match=r"epoch 1 did not serve \(epoch 1 ended with signal 9\)"):
            await service.hot_restart()
        assert service.phase is Phase.RUNNING
        assert (service.epoch, service.pid) == (0, pid)
        answer = await worker_probe.probe(host.config.ports.readiness)
        assert answer == worker_probe.Probed(ready=True, epoch=0)

    agent(host, scenario)


def test_a_crash_loop_is_told_and_backed_off(host: EnvoyHost) -> None:
    host.start_runner(replace(host.settings, binary="/bin/false"))

    async def scenario(service: EnvoyService) -> None:
        service.want(up=True)
        await until(lambda: heard.loops)

    heard = Heard()

    async def run() -> None:
        service = EnvoyService(host.config, host.layout, Node(id="test"), heard.callbacks())
        task = asyncio.ensure_future(service.run())
        await scenario(service)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert heard.loops == [3]


def test_a_runner_that_cannot_start_envoy_says_why(host: EnvoyHost) -> None:
    host.start_runner(replace(host.settings, binary="/nonexistent/envoy"))

    async def scenario(service: EnvoyService) -> None:
        service.want(up=True)
        await until(lambda: service.phase is Phase.BACKOFF)

    assert Phase.RUNNING not in agent(host, scenario).phases


def test_the_runners_death_takes_envoy_along_and_the_next_one_starts_again(
    host: EnvoyHost,
) -> None:
    runner = host.start_runner()
    host.start_relay()

    async def scenario(service: EnvoyService) -> None:
        pid = await serving(service)
        runner.kill()
        runner.wait()
        await until(lambda: not alive(pid))
        await until(lambda: service.runner_problem)
        host.start_runner()
        await until(lambda: service.serving and service.pid != pid)
        assert service.epoch == 0

    heard = agent(host, scenario)
    assert len(heard.running) == 2


def test_drains_before_it_stops(host: EnvoyHost) -> None:
    (http,) = free_ports(1)
    host.world.put(small_listeners.hello("hello", http))
    host.start_runner()
    host.start_relay()

    async def scenario(service: EnvoyService) -> None:
        pid = await serving(service)
        reader, writer = await asyncio.open_connection("127.0.0.1", http)
        stop = asyncio.ensure_future(service.drain_and_stop())
        await asyncio.sleep(0.5)
        answer = await worker_probe.probe(host.config.ports.readiness)
        assert answer is None or not answer.ready  # it says so before it goes
        assert alive(pid)  # for a connection is open
        assert await hello(http, reader, writer) == b"hello"
        writer.close()
        await stop
        assert not alive(pid)
        assert service.phase is Phase.STOPPED

    agent(host, scenario)


def test_a_runner_that_is_told_to_end_drains_first(host: EnvoyHost) -> None:
    (http,) = free_ports(1)
    host.world.put(small_listeners.hello("hello", http))
    runner = host.start_runner()
    host.start_relay()

    async def scenario(service: EnvoyService) -> None:
        pid = await serving(service)
        reader, writer = await asyncio.open_connection("127.0.0.1", http)
        runner.terminate()
        await asyncio.sleep(0.5)
        answer = await worker_probe.probe(host.config.ports.readiness)
        assert answer is None or not answer.ready
        assert alive(pid)
        assert await hello(http, reader, writer) == b"hello"
        writer.close()
        closed = time.monotonic()
        await until(lambda: not alive(pid))
        assert time.monotonic() - closed < 1.5  # and not only when the two seconds are over

    agent(host, scenario)
    assert runner.wait(5) == 0


def test_an_envoy_whose_workers_hang_is_said_to_be_down(host: EnvoyHost) -> None:
    host.start_runner()
    host.start_relay()

    async def scenario(service: EnvoyService) -> None:
        pid = await serving(service)
        os.kill(pid, signal.SIGSTOP)
        try:
            await until(lambda: not service.serving)
            assert service.alive
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: service.serving)
        assert service.pid == pid

    assert agent(host, scenario).down == ["epoch 0 lives, but no worker answers"]


def test_a_proxy_in_the_environment_changes_nothing_and_reaches_no_envoy(host: EnvoyHost) -> None:
    dead = "http://127.0.0.1:9"
    host.environment = {
        **os.environ,
        "https_proxy": dead,
        "http_proxy": dead,
        "HOSTMESH_PLANTED": "hunter2",
    }
    host.start_runner()
    host.start_relay()

    async def scenario(service: EnvoyService) -> None:
        pid = await serving(service)
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"proxy" not in environment
        assert b"hunter2" not in environment

    agent(host, scenario)
