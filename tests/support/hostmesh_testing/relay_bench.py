"""A relay between a real control plane's ADS and a real Envoy, and what it has said."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hostmesh_agent.app.relay import RelayCallbacks, RelayPaths, RelayService
from hostmesh_agent.logic.relay_facts import MeshFacts
from hostmesh_testing import xds_bench
from hostmesh_testing.xds_bench import ControlPlane, Envoy


@dataclass
class Bench:
    """Everything of one test, in one folder."""

    folder: Path
    plane: ControlPlane = field(default_factory=ControlPlane)
    port: int = field(default_factory=xds_bench.free_port)
    applied: list[tuple[str, str, str]] = field(default_factory=list)
    rejected: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    facts: list[MeshFacts] = field(default_factory=list)
    warming: set[str] | None = None
    envoy: Envoy | None = None

    @property
    def socket(self) -> str:
        return str(self.folder / "xds.sock")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def relay(self, *more: ControlPlane) -> RelayService:
        async def warming(_epoch: int | None) -> frozenset[str] | None:
            assert self.envoy is not None
            if not await self.envoy.ask("/ready"):
                return None
            return frozenset(await self.envoy.clusters("dynamic_warming_clusters"))

        (self.folder / "xds").mkdir(exist_ok=True)
        return RelayService(
            RelayPaths(xds_dir=str(self.folder / "xds"), xds_socket=self.socket),
            control_planes=[plane.address for plane in (self.plane, *more)],
            callbacks=RelayCallbacks(
                on_applied=lambda *said: self.applied.append(said),
                on_rejected=lambda *said: self.rejected.append(said),
                on_generation=self.facts.append,
                on_problem=self.problems.append,
            ),
            warming=warming,
        )

    @asynccontextmanager
    async def relaying(self, *more: ControlPlane) -> AsyncIterator[RelayService]:
        """Run a relay with a certificate until left."""
        service = self.relay(*more)
        async with running(service):
            service.set_credentials(self.plane.credentials())
            yield service

    @asynccontextmanager
    async def with_envoy(self) -> AsyncIterator[Envoy]:
        async with xds_bench.running_envoy(
            self.folder, self.socket, base_id=xds_bench.own_base_id()
        ) as envoy:
            self.envoy = envoy
            yield envoy

    def serve(self, backend: int) -> None:
        """Let the control plane serve one listener that leads to this backend."""
        self.plane.put(
            xds_bench.eds_cluster("web"),
            xds_bench.endpoints("web", backend),
            xds_bench.http_listener("in", self.port, "80"),
            xds_bench.route("80", "web"),
        )

    async def answers(self, body: str, seconds: float = 10.0) -> None:
        await until(lambda: self._asks(body), f"{body!r} from {self.address}", seconds)

    async def asks_other(self, body: str) -> bool:
        return await xds_bench.http(self.address) != body

    async def _asks(self, body: str) -> bool:
        return await xds_bench.http(self.address) == body


@asynccontextmanager
async def running(service: RelayService) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(service.run())
        try:
            yield
        finally:
            task.cancel()


async def until(
    condition: Callable[[], object | Awaitable[object]], what: str, seconds: float = 10.0
) -> None:
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, f"{what} did not come in {seconds:g} s"
        await asyncio.sleep(0.02)


def run(folder: Path, scenario: Callable[[Bench], Awaitable[None]]) -> Bench:
    bench = Bench(folder)

    async def main() -> None:
        async with asyncio.timeout(60):
            await scenario(bench)

    asyncio.run(main())
    return bench
