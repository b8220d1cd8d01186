"""An agent's end of the host stream, run against a control plane of the test's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hostmesh_agent.app.host import AgentFacts, HostListeners, HostService
from hostmesh_agent.edges.clock import SystemClock
from hostmesh_controlplane.edges.entropy import SystemEntropy
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_testing.hosts import HOST, LoopbackControlPlane

WEB = pb.ServiceRegistration(
    service="web", port=80, workload_port=8080, protocol="http", health=pb.STATUS_HEALTHY
)


class Heard:
    """What the agent was told."""

    def __init__(self) -> None:
        self.verdicts: list[pb.Verdict] = []
        self.lost: list[str] = []
        self.revoked: list[str] = []
        self.welcomes = 0

    def listeners(self, **more: Any) -> HostListeners:
        def welcomed(_: pb.Welcome) -> None:
            self.welcomes += 1

        return HostListeners(
            on_welcome=welcomed,
            on_lost=self.lost.append,
            on_verdict=self.verdicts.append,
            on_revoked=self.revoked.append,
            **more,
        )


@asynccontextmanager
async def agent(
    plane: LoopbackControlPlane,
    heard: Heard,
    *,
    addresses: tuple[str, ...] = (),
    entropy: SystemEntropy | None = None,
    **more: Any,
) -> AsyncIterator[HostService]:
    service = HostService(
        addresses or (plane.address,),
        plane.credentials(),
        facts=AgentFacts(agent_version="0.1", hostname="web-1"),
        clock=SystemClock(),
        entropy=entropy or SystemEntropy(),
        listeners=heard.listeners(**more),
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(service.run())
        yield service
        running.cancel()


def registered(plane: LoopbackControlPlane) -> bool:
    return bool(plane.mesh.instances.get(HOST))
