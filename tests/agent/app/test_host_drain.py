"""What leaves stays out, whether a control plane hears it now or later."""

import asyncio

import pytest

from hostmesh_core._pb import host_pb2 as pb
from hostmesh_testing.host_agent import WEB, Heard, agent, registered
from hostmesh_testing.hosts import HOST, LoopbackControlPlane, until

pytestmark = pytest.mark.process


def test_a_drained_service_stays_out_and_the_host_hears_when_it_is_done() -> None:
    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        plane.mesh.drain_gate = asyncio.Event()
        async with plane.running(), agent(plane, heard) as host, asyncio.TaskGroup() as tasks:
            host.register(pb.Register(services=[WEB]))
            await until(lambda: registered(plane))
            leaving = tasks.create_task(host.drain())
            await until(lambda: not registered(plane))
            assert not leaving.done()
            assert plane.mesh.inbound[HOST], "inbound chains stay until the host says so"
            plane.mesh.drain_gate.set()
            assert await leaving is True
            await asyncio.sleep(0.5)
            assert not registered(plane)

    asyncio.run(play())


def test_what_is_drained_while_no_control_plane_answers_is_not_renewed_when_one_does() -> None:
    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        async with plane.running():
            pass  # from now on its port is known
        async with agent(plane, heard) as host:
            host.register(pb.Register(services=[WEB]))
            async with plane.running():
                await until(lambda: registered(plane))
            await until(lambda: not host.connected)
            assert await host.drain() is False
            async with plane.running():
                await until(lambda: host.connected)
                await until(lambda: plane.mesh.inbound.get(HOST))
                await asyncio.sleep(0.3)  # longer than the first renewal takes
                assert not registered(plane)

    asyncio.run(play())
