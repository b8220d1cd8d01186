"""One control plane, the host that owns `payments`, and the host of `web` that wants what is not
its own.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from hostmesh_core._pb import host_pb2 as pb
from hostmesh_testing.entitlement_world import CATALOG, PAYMENTS, WEB, World
from hostmesh_testing.meshed_host import loop_thread, meshed_host
from hostmesh_testing.plane_process import plane_process
from hostmesh_testing.waiting import wait_until


@contextmanager
def _world() -> Iterator[World]:
    with ExitStack() as stack:
        plane = stack.enter_context(plane_process())
        (plane.catalog / "payments.yaml").write_text(CATALOG)
        plane.start()
        address = f"127.0.0.1:{plane.xds_port}"
        loop = stack.enter_context(loop_thread())
        own = {"cidr": ["127.0.0.1/32"]}
        victim = plane.enrol("payments-1", service=["payments"], **own)
        attacker = plane.enrol("web-1", service=["web"], **own)
        world = World(
            plane,
            loop,
            stack.enter_context(meshed_host(loop, victim, address)),
            stack.enter_context(meshed_host(loop, attacker, address)),
        )
        for host, service in ((world.victim, PAYMENTS), (world.attacker, WEB)):
            verdict = host.register(service)
            assert verdict.services[0].accepted, verdict
            host.report(
                pb.HealthReport(
                    service=service.service,
                    workload_port=service.workload_port,
                    status=pb.STATUS_HEALTHY,
                )
            )
        wait_until(lambda: "healthy" in world.payments(), what="payments in the mesh")
        yield world


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with _world() as world:
        yield world
