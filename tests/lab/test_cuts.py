"""Hosts that vanish without a word: out of every peer's Envoy within 15 s, each time."""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.mesh import Agent, wait_for
from hostmesh_testing.lab_mesh import LabMesh, start_app

PORT = 9080
WEB = f"{{name: web, port: {PORT}, protocol: http}}"
FULL_NAME = "web.default.mesh.internal"
AT_ONCE = 5
ROUNDS = 4
GONE_SECONDS = 15.0


class Pool:
    """Five servers that get cut, one that stays, and a client."""

    def __init__(self, mesh: LabMesh) -> None:
        self.mesh = mesh
        self.servers = []
        for number in range(AT_ONCE + 1):
            host = mesh.host(f"web{number}")
            start_app(host, "http", host.name, PORT)
            self.servers.append(mesh.join(host, [WEB]))
        self.peers = [mesh.join(mesh.host("client")), self.servers.pop()]
        mesh.wait_meshed("web", AT_ONCE + 1)


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Lab() as lab:
        yield Pool(LabMesh(lab))


def _gone(peer: Agent, endpoint: str) -> bool:
    flags = peer.upstreams(FULL_NAME, PORT).get(endpoint)
    return flags is None or "failed_eds_health" in flags


def _here(peer: Agent, endpoint: str) -> bool:
    return peer.upstreams(FULL_NAME, PORT).get(endpoint) == "healthy"


def _cut(pool: Pool, server: Agent, phase: float) -> float:
    """Cut one host at its own phase; give how long until the last peer's Envoy has let it go."""
    endpoint = f"{server.host.ipv4}:{PORT}"
    time.sleep(phase)
    began = time.monotonic()
    server.host.cut()
    for peer in pool.peers:
        wait_for(f"{endpoint} gone", lambda p=peer: _gone(p, endpoint), seconds=40)  # type: ignore[misc]
    return time.monotonic() - began


@pytest.mark.timeout(500)
def test_twenty_cuts_five_at_a_time(pool: Pool) -> None:
    phases = random.Random(7)
    took = []
    for _ in range(ROUNDS):
        for peer in pool.peers:
            for server in pool.servers:
                endpoint = f"{server.host.ipv4}:{PORT}"
                wait_for(f"{endpoint} there", lambda p=peer, e=endpoint: _here(p, e), seconds=60)  # type: ignore[misc]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            cuts = [threads.submit(_cut, pool, s, phases.uniform(0, 4)) for s in pool.servers]
            took += [cut.result() for cut in cuts]
        for server in pool.servers:
            server.host.restore()
    print(f"{len(took)} cuts, out of every peer's Envoy after {max(took):.1f} s at most")
    assert len(took) == AT_ONCE * ROUNDS
    assert max(took) <= GONE_SECONDS
