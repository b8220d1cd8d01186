"""A proxy is back before its host's own stream, after the control plane was restarted."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from hostmesh_agent.edges import xds_upstream
from hostmesh_core import names, type_urls
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_testing.entitlement_world import web
from hostmesh_testing.meshed_host import LoopThread, MeshedHost, loop_thread, meshed_host
from hostmesh_testing.plane_process import EnrolledHost, PlaneProcess, plane_process

pytestmark = pytest.mark.process

INBOUND = names.inbound_cluster(8080)


@pytest.fixture
def plane() -> Iterator[PlaneProcess]:
    with plane_process() as plane:
        plane.start()
        yield plane


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with loop_thread() as loop:
        yield loop


def _address(plane: PlaneProcess) -> str:
    return f"127.0.0.1:{plane.xds_port}"


async def _returning(host: MeshedHost, heard: list[DeltaDiscoveryResponse]) -> None:
    """Follow clusters as a proxy that holds its inbound one already."""
    request = DeltaDiscoveryRequest(type_url=type_urls.CLUSTER, resource_names_subscribe=["*"])
    request.initial_resource_versions[INBOUND] = "what it has from before"
    async with xds_upstream.connect(host.address, host.credentials) as stream:
        await stream.send(request)
        heard.append(await stream.receive())


def _first_answer(
    plane: PlaneProcess, loop: LoopThread, host: EnrolledHost, *said: pb.ServiceRegistration
) -> DeltaDiscoveryResponse:
    """Give what a proxy that is back first is told; its host says these a second later."""
    away = MeshedHost(loop, host, _address(plane))  # its own stream is not up
    heard: list[DeltaDiscoveryResponse] = []
    asking = asyncio.run_coroutine_threadsafe(_returning(away, heard), loop.loop)
    with pytest.raises(TimeoutError) if said else ExitStack():
        asking.result(1.0 if said else 8.0)
    with ExitStack() as stack:
        if said:
            back = stack.enter_context(meshed_host(loop, host, _address(plane)))
            back.register(*said)
            asking.result(8.0)
    return heard[0]


def test_it_is_shown_what_was_stored_of_its_host(plane: PlaneProcess, loop: LoopThread) -> None:
    enrolled = plane.enrol("web-1", service=["web"], cidr=["127.0.0.1/32"])
    with meshed_host(loop, enrolled, _address(plane)) as host:
        assert host.register(web()).services[0].accepted
    plane.stop()
    plane.start()

    answer = _first_answer(plane, loop, enrolled)

    assert INBOUND in {one.name for one in answer.resources}
    assert INBOUND not in answer.removed_resources


def test_where_nothing_is_stored_it_waits_for_its_host(
    plane: PlaneProcess, loop: LoopThread
) -> None:
    enrolled = plane.enrol("web-1", service=["web"], cidr=["127.0.0.1/32"])
    declared = web(declared_only=True)
    with meshed_host(loop, enrolled, _address(plane)) as host:
        assert host.register(declared).services[0].accepted
    plane.stop()
    plane.start()

    answer = _first_answer(plane, loop, enrolled, declared)

    assert INBOUND in {one.name for one in answer.resources}
    assert INBOUND not in answer.removed_resources
