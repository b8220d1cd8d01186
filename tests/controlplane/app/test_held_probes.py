import asyncio
from collections.abc import Callable

from hostmesh_controlplane.app.held_probes import HeldProbes
from hostmesh_controlplane.logic.merge import MergeState, Step
from hostmesh_testing.catalogs import Mesh, listed, service


class Host(Mesh):
    """The merged mesh, as the app offers it."""

    def put(self, change: Callable[[MergeState], Step], /) -> None:
        self.take(change(self.state))


class Network:
    """Who accepts connections."""

    def __init__(self, *accepting: str) -> None:
        self.accepting = set(accepting)
        self.tried: list[str] = []

    async def __call__(self, address: str, port: int, *, seconds: float) -> bool:
        await asyncio.sleep(0)
        assert seconds > 0
        self.tried.append(f"{address}:{port}")
        return f"{address}:{port}" in self.accepting


def steps(mesh: Host, network: Network, count: int) -> None:
    async def run() -> None:
        probes = HeldProbes(mesh, accepts=network, holding=lambda: True)
        for _ in range(count):
            await probes.step()

    asyncio.run(run())


def test_of_a_held_view_what_truly_died_is_out_and_what_lives_stays() -> None:
    mesh = Host()
    held = [listed(f"10.0.0.{n}:80", held=True) for n in (1, 2)]
    mesh.catalog("dc1", service(*held, "10.0.0.3:80"))
    network = Network("10.0.0.2:80", "10.0.0.3:80")

    steps(mesh, network, 2)

    assert set(mesh.table()) == {"10.0.0.2:80", "10.0.0.3:80"}
    assert [str(w.key) for w in mesh.service().withheld] == ["10.0.0.1:80"]


def test_one_that_returns_is_in_again() -> None:
    mesh = Host()
    held = listed("10.0.0.1:80", held=True)
    mesh.catalog("dc1", service(held, "10.0.0.3:80"))
    network = Network("10.0.0.3:80")

    async def run() -> None:
        probes = HeldProbes(mesh, accepts=network, holding=lambda: True)
        await probes.step()
        await probes.step()
        assert set(mesh.table()) == {"10.0.0.3:80"}
        network.accepting.add("10.0.0.1:80")
        await probes.step()

    asyncio.run(run())
    assert set(mesh.table()) == {"10.0.0.1:80", "10.0.0.3:80"}


def test_a_prober_behind_a_firewall_empties_nothing() -> None:
    mesh = Host()
    held = [listed(f"10.0.0.{n}:80", held=True) for n in (1, 2)]
    mesh.catalog("dc1", service(*held, "10.0.0.3:80"))
    steps(mesh, Network(), 5)
    assert len(mesh.table()) == 3


def test_nothing_is_tried_while_nothing_is_held() -> None:
    mesh = Host()
    mesh.catalog("dc1", service("10.0.0.3:80"))
    network = Network()
    steps(mesh, network, 3)
    assert network.tried == []
