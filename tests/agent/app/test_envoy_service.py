"""Envoy's life on the real Envoy: everything here starts processes."""

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from hostmesh_agent.app.envoy import EnvoyService, Node
from hostmesh_agent.edges import http_get, worker_probe
from hostmesh_agent.logic.lifecycle import Phase
from hostmesh_core.envoy_silence import SILENT_SECONDS
from hostmesh_core.errors import Refused
from hostmesh_testing import small_listeners
from hostmesh_testing.envoy_host import FAST, EnvoyHost, envoy_host
from hostmesh_testing.envoy_scenario import Heard, agent, alive, hello, hello_once, serving, until
from hostmesh_testing.rooted_layout import free_ports

pytestmark = pytest.mark.process


@pytest.fixture
def host() -> Iterator[EnvoyHost]:
    with envoy_host() as made:
        yield made


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
        assert service.epochs == (0, 1)
        await until(lambda: service.epochs == (1,))  # parent_shutdown_seconds, 4 here
        assert not alive(old)
        server.close()
        await service.hot_restart()
        assert service.epoch == 2

    heard = agent(host, scenario)
    assert [epoch for epoch, _ in heard.running] == [0, 1, 2]
    assert not heard.down


def test_strangers_learn_the_status_code_alone(host: EnvoyHost) -> None:
    addresses = own_addresses()
    if not addresses:
        pytest.skip("this machine has no address but loopback's")
    host.start_runner()
    host.start_relay()

    async def ask(address: str) -> http_get.Answer:
        reader, writer = await asyncio.open_connection(address, host.config.ports.readiness)
        try:
            wanted = http_get.Ask("/healthz/ready")
            return await http_get.fetch(reader, writer, wanted, max_bytes=1000)
        finally:
            writer.close()

    async def scenario(service: EnvoyService) -> None:
        await serving(service)
        for address in ("127.0.0.1", "::1", *addresses):
            answer = await ask(address)
            told = {"x-hostmesh-epoch"} if address in ("127.0.0.1", "::1") else set()
            assert (answer.status, answer.body) == (200, b"")
            usual = {"date", "connection", "content-length", "transfer-encoding"}
            assert answer.headers.keys() - usual == told, address

    agent(host, scenario)


def own_addresses() -> list[str]:
    """Give this machine's addresses beside loopback's and link-local ones."""
    found = [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    ]
    return [text for text in found if not text.startswith(("127.", "fe80")) and text != "::1"]


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


def test_it_serves_until_its_drain_is_over(host: EnvoyHost) -> None:
    """The rules stay for the connections that it carries, though its workers say not ready."""
    (http,) = free_ports(1)
    host.world.put(small_listeners.hello("hello", http))
    host.start_runner()
    host.start_relay()

    async def scenario(service: EnvoyService) -> None:
        await serving(service)
        _, writer = await asyncio.open_connection("127.0.0.1", http)
        stop = asyncio.ensure_future(service.drain_and_stop())
        deadline = time.monotonic() + 1.5  # in this time others are said to be down
        while time.monotonic() < deadline:
            assert service.serving
            await asyncio.sleep(0.05)
        writer.close()
        await stop
        assert not service.serving

    assert agent(host, scenario).down == ["epoch 0 ended with exit status 0"]


def test_an_envoy_whose_workers_hang_is_said_to_be_down(host: EnvoyHost) -> None:
    host.start_runner()
    host.start_relay()

    async def scenario(service: EnvoyService) -> None:
        pid = await serving(service)
        os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            await until(lambda: not service.serving, 2 * SILENT_SECONDS)
            assert time.monotonic() - stopped > 0.9 * SILENT_SECONDS
            assert service.alive
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: service.serving)
        assert service.pid == pid

    heard = agent(host, scenario)
    (said,) = heard.down
    assert re.fullmatch("epoch 0 lives, but no worker has answered for 1[0-9] s", said)


def test_an_envoy_that_is_starved_for_a_while_is_not_said_to_be_down(host: EnvoyHost) -> None:
    host.start_runner()
    host.start_relay()

    async def scenario(service: EnvoyService) -> None:
        pid = await serving(service)
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(6.0)  # the first question has been given up and the next is asked
        finally:
            os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(1.5)
        assert service.serving

    heard = agent(host, scenario)
    assert len(heard.running) == 1
    assert heard.down == ["epoch 0 ended with signal 9"] or not heard.down


def test_closed_listeners_count_no_faster_than_silence(host: EnvoyHost) -> None:
    """Somebody else's drain: what it still carries needs the rules."""
    host.start_runner()
    host.start_relay()

    async def scenario(service: EnvoyService) -> None:
        await serving(service)
        await service.admin.get("/drain_listeners", method="POST")
        await until(lambda: not _accepts(host.config.ports.readiness))
        await asyncio.sleep(2.5)
        assert service.serving
        await until(lambda: not service.serving, 2 * SILENT_SECONDS)
        assert service.alive

    heard = agent(host, scenario)
    (said,) = heard.down
    assert re.fullmatch("epoch 0 lives, but no worker has answered for 1[0-9] s", said)


def _accepts(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


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
