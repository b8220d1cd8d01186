"""Who goes on with a running Envoy: the next agent, the next runner. Real processes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hostmesh_agent.app.envoy import EnvoyService
from hostmesh_agent.edges import worker_probe
from hostmesh_agent.logic.lifecycle import Phase
from hostmesh_testing import small_listeners
from hostmesh_testing.envoy_host import EnvoyHost, envoy_host
from hostmesh_testing.envoy_scenario import agent, alive, hello, serving, until
from hostmesh_testing.rooted_layout import free_ports
from hostmesh_testing.waiting import wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def host() -> Iterator[EnvoyHost]:
    with envoy_host() as made:
        yield made


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


def kill_an_agent(host: EnvoyHost) -> int:
    """Let an agent of its own process bring Envoy up, then SIGKILL it; gives Envoy's pid."""
    told = {"root": host.layout.root, "ports": asdict(host.config.ports)}
    argv = [sys.executable, "-m", "hostmesh_testing.envoy_agent_main", json.dumps(told)]
    support = str(Path(__file__).parents[2] / "support")
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": support}
    ) as first:
        assert first.stdout is not None
        epoch, pid = first.stdout.readline().split()
        assert epoch == b"0"
        first.kill()
    return int(pid)


def test_a_killed_agent_costs_no_request_and_the_next_one_has_the_same_envoy(
    host: EnvoyHost,
) -> None:
    (http,) = free_ports(1)
    host.world.put(small_listeners.hello("hello", http))
    host.start_runner()
    host.start_relay()
    pid = kill_an_agent(host)

    async def second(service: EnvoyService) -> None:
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", http)
        while not service.serving:
            assert await hello(http, reader, writer) == b"hello"
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", http)
        writer.close()
        assert time.monotonic() - begun < 1.0
        assert (service.epoch, service.pid) == (0, pid)

    assert agent(host, second).running == [(0, pid)]


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
        await until(lambda: service.serving and service.pid not in (None, pid))
        assert service.epoch == 0

    heard = agent(host, scenario)
    assert len(heard.running) == 2


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
