"""Runs one agent's Envoy service for as long as a scenario takes, and keeps what it was told."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hostmesh_agent.app.envoy import Callbacks, EnvoyService, Node
from hostmesh_agent.edges import http_get
from hostmesh_agent.logic.lifecycle import Phase
from hostmesh_testing.envoy_host import EnvoyHost


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
