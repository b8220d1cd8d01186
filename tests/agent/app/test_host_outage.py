"""A control plane that stands still: a process under SIGSTOP."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hostmesh_testing
from hostmesh_agent.app.host import AgentFacts, HostListeners, HostService
from hostmesh_agent.edges.clock import SystemClock
from hostmesh_agent.edges.xds_upstream import Credentials
from hostmesh_controlplane.edges.entropy import SystemEntropy
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_testing.hosts import DOMAIN, until
from hostmesh_testing.waiting import wait_until

pytestmark = pytest.mark.process

STOPPED_SECONDS = 9.0
"""Longer than the lease of 8 s."""


@pytest.fixture
def plane(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    support = str(Path(hostmesh_testing.__file__).parent.parent)
    with (tmp_path / "told").open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "hostmesh_testing.hosts_process", str(tmp_path)],
            stdout=told,
            env={**os.environ, "PYTHONPATH": support},
            text=True,
        )
        try:
            wait_until((tmp_path / "address").exists, what="the control plane")
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(10)


def test_a_control_plane_stopped_for_longer_than_a_lease_ends_nobody(
    plane: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    verdicts: list[pb.Verdict] = []
    lost: list[str] = []
    service = HostService(
        ((tmp_path / "address").read_text(),),
        Credentials(
            (tmp_path / "key.pem").read_bytes(),
            (tmp_path / "chain.pem").read_bytes(),
            (tmp_path / "roots.pem").read_bytes(),
            f"control-plane.{DOMAIN}",
        ),
        facts=AgentFacts(),
        clock=SystemClock(),
        entropy=SystemEntropy(),
        listeners=HostListeners(on_verdict=verdicts.append, on_lost=lost.append),
    )

    async def play() -> None:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(service.run())
            web = pb.ServiceRegistration(
                service="web", workload_port=8080, health=pb.STATUS_HEALTHY
            )
            service.register(pb.Register(services=[web]))
            await until(lambda: verdicts)
            plane.send_signal(signal.SIGSTOP)
            await asyncio.sleep(STOPPED_SECONDS)
            assert lost
            plane.send_signal(signal.SIGCONT)
            await until(lambda: service.connected, seconds=8)
            await asyncio.sleep(3.0)
            running.cancel()

    asyncio.run(play())
    told = (tmp_path / "told").read_text()
    assert "instances 7f3a 1" in told
    assert "lease ended" not in told
