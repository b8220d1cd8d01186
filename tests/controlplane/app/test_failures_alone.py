"""A failure of ours that is about one host or one stream ends that one, is logged with the host's
id, and nothing else notices.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from hostmesh_controlplane.app.mesh import Mesh
from hostmesh_controlplane.app.proxies import Proxies, ProxyStream
from hostmesh_controlplane.logic import merge
from hostmesh_controlplane.logic.draft import Rules
from hostmesh_controlplane.logic.scope import Scope
from hostmesh_controlplane.logic.vips import VipRanges
from hostmesh_core import type_urls
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.model import RegisteredInstance
from hostmesh_core.xds.resource import Resource, Resources
from hostmesh_testing import catalogs
from hostmesh_testing.hosts import HOST, OTHER, FakeMesh, until
from hostmesh_testing.hosts_play import World as HostsWorld
from hostmesh_testing.hosts_play import play, web
from hostmesh_testing.memory_store import MemoryStore
from hostmesh_testing.proxy_streams import FakePush, subscribe
from hostmesh_testing.render_mesh import SCOPE
from hostmesh_testing.xds import World, ask, assignment, cluster

BAD, GOOD = "host-bad", "host-good"


class Breaking:
    """The resources of a world, which fail for whoever asks once `broken`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broken = False

    def get(self, type_url: str, name: str) -> Resource | None:
        if self.broken:
            raise KeyError(name)
        return self.world.get(type_url, name)

    def names(self, type_url: str) -> list[str]:
        if self.broken:
            raise KeyError(type_url)
        return list(self.world.names(type_url))


class Scene:
    """Two hosts' streams; what one of them sees can be broken."""

    def __init__(self) -> None:
        self.world = World(cluster("web"), assignment("web"))
        self.seen = Breaking(self.world)
        self.proxies = Proxies(self._resources)
        self.pushes = {BAD: FakePush(), GOOD: FakePush()}
        self.streams = {host: self._open(host) for host in (BAD, GOOD)}

    def _resources(self, _: Scope, host_id: str) -> Resources:
        return self.seen if host_id == BAD else self.world

    def _open(self, host_id: str) -> ProxyStream:
        return self.proxies.open(host_id, f"s-{host_id}", SCOPE, self.pushes[host_id])

    def follow(self) -> None:
        for stream in self.streams.values():
            subscribe(stream, type_urls.ENDPOINT, "web")


def _change(scene: Scene) -> None:
    scene.proxies.changed(scene.world.put(assignment("web", 1)))


def _change_of_hosts(scene: Scene) -> None:
    names = scene.world.put(assignment("web", 1))
    for host in (BAD, GOOD):
        scene.proxies.changed_for(host, names)


def _rescope(scene: Scene) -> None:
    for host in (BAD, GOOD):
        scene.proxies.rescope(host, SCOPE)
    _change(scene)


def _request(scene: Scene) -> None:
    assert subscribe(scene.streams[BAD], type_urls.ENDPOINT, "other") == []
    _change(scene)


@pytest.mark.parametrize("happens", [_change, _change_of_hosts, _rescope, _request])
def test_a_stream_that_cannot_be_served_ends_alone(
    happens: Callable[[Scene], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        scene = Scene()
        scene.proxies.release()
        scene.follow()
        scene.seen.broken = True
        happens(scene)
        assert scene.pushes[BAD].ended.startswith("cannot go on: a bug in the control plane")
        assert (scene.pushes[GOOD].told, scene.pushes[GOOD].ended) == (["EDS +web"], "")
        assert scene.streams[BAD].request(ask(type_urls.ENDPOINT, "web")) == [], "not again"

    asyncio.run(main())
    (record,) = (r for r in caplog.records if "cannot serve a proxy" in r.message)
    assert f"host={BAD}" in record.message
    assert record.exc_info


def test_the_first_answer_to_all_fails_for_one_alone() -> None:
    async def main() -> None:
        scene = Scene()
        scene.follow()
        scene.seen.broken = True
        scene.proxies.release()
        assert scene.pushes[BAD].ended
        assert scene.pushes[GOOD].told == ["EDS +web"]

    asyncio.run(main())


class FailingMesh(FakeMesh):
    """Fails whatever it is told of one host, once `broken`."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = ""

    def on_inbound(self, host_id: str, *what: object) -> None:
        if host_id == self.broken:
            raise RuntimeError("cannot render")
        super().on_inbound(host_id, *what)  # type: ignore[arg-type]

    def on_instances(
        self,
        host_id: str,
        instances: tuple[RegisteredInstance, ...],
        withdrawn: tuple[RegisteredInstance, ...] = (),
    ) -> "asyncio.Future[object] | None":
        if host_id == self.broken:
            raise RuntimeError("cannot take in")
        return super().on_instances(host_id, instances, withdrawn)

    def on_lease_ended(self, host_id: str, instances: tuple[RegisteredInstance, ...]) -> None:
        if host_id == self.broken:
            raise RuntimeError("cannot take out")
        super().on_lease_ended(host_id, instances)


def _hosts(scene: Callable[[HostsWorld, FailingMesh], Awaitable[None]]) -> None:
    mesh = FailingMesh()

    async def whole(world: HostsWorld) -> None:
        await scene(world, mesh)

    play(whole, lambda: HostsWorld(mesh=mesh))


def test_what_one_host_says_fails_for_that_host_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(world: HostsWorld, mesh: FailingMesh) -> None:
        bad, good = world.agent().connect(), world.agent(OTHER, address="10.0.0.5").connect()
        mesh.broken = HOST
        bad.register(web())
        assert bad.link.ended == "again: cannot go on: a bug in the control plane; connect again"
        good.register(web())
        assert world.keys(OTHER) == ["10.0.0.5:8080"]
        assert good.link.ended is None

    _hosts(scene)
    assert any(f"host={HOST}" in r.message and r.exc_info for r in caplog.records)


def test_a_lease_that_cannot_be_ended_does_not_end_the_sweep() -> None:
    async def scene(world: HostsWorld, mesh: FailingMesh) -> None:
        for host, address in ((HOST, "10.0.0.4"), (OTHER, "10.0.0.5")):
            world.agent(host, address=address).connect().register(web())
        mesh.broken = HOST
        await world.clock.pass_(14.0)
        assert world.keys(OTHER) == []
        assert "lease ended 9b1c 1" in mesh.told

    _hosts(scene)


def test_a_change_around_the_hosts_fails_for_one_alone() -> None:
    async def scene(world: HostsWorld, mesh: FailingMesh) -> None:
        for host, address in ((HOST, "10.0.0.4"), (OTHER, "10.0.0.5")):
            grant = Grant((Claim("default", "web", "web"),), cidrs=("10.1.0.0/16",))
            world.authorities.records[host].grant = grant
            world.agent(host, address=address).connect().register(web())
        mesh.broken = HOST
        told = len(mesh.told)
        service = "web.default.mesh.internal"
        mesh.catalog[service] = {catalogs.key("10.1.0.9:8080")}
        world.hosts.catalog_changed((service,))
        assert mesh.told[told:] == [] or all("9b1c" in one for one in mesh.told[told:])
        assert world.hosts.connected() == (HOST, OTHER)

    _hosts(scene)


def test_a_stream_that_cannot_be_taken_is_refused_for_now() -> None:
    async def scene(world: HostsWorld, mesh: FailingMesh) -> None:
        mesh.on_connected = lambda *_: 1 / 0  # type: ignore[assignment,method-assign]
        refused = world.agent().connect().refusal
        assert refused is not None
        assert refused.again

    _hosts(scene)


def test_an_input_that_fails_is_its_callers_alone(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: merge.MergeState) -> merge.Step:
        raise ZeroDivisionError

    async def main() -> None:
        rules = Rules("mesh.internal", "mesh.internal")
        mesh = Mesh(rules, VipRanges(), MemoryStore(), on_changes=lambda _: None)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(mesh.run())
            mesh.put(fail)
            with pytest.raises(ZeroDivisionError):
                await mesh.apply(fail)
            await mesh.settled()
            running.cancel()

    asyncio.run(main())
    assert sum(r.exc_info is not None for r in caplog.records) == 2


def _returning(type_url: str, name: str) -> DeltaDiscoveryRequest:
    request = ask(type_url, name)
    request.initial_resource_versions[name] = "1"
    return request


@pytest.mark.parametrize("ready", ["before", "after"])
def test_a_proxy_that_is_back_before_its_host_waits_for_what_the_host_serves(ready: str) -> None:
    async def main() -> None:
        scene = Scene()
        known: set[str] = set()
        scene.proxies.known = known.__contains__
        if ready == "before":
            scene.proxies.release()
        assert scene.streams[BAD].request(_returning(type_urls.ENDPOINT, "web")) == []
        assert subscribe(scene.streams[BAD], type_urls.CLUSTER, "*") == [], "in order"
        subscribe(scene.streams[GOOD], type_urls.ENDPOINT, "web")
        if ready == "after":
            scene.proxies.release()
        assert scene.pushes[BAD].told == []
        known.add(BAD)
        scene.proxies.host_known(BAD)
        assert scene.pushes[BAD].told[:2] == ["EDS +web", "CDS +web"]

    asyncio.run(main())


def test_a_proxy_whose_host_stays_silent_is_answered_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hostmesh_controlplane.app.proxies.FIRST_WORD_SECONDS", 0.01)

    async def main() -> None:
        scene = Scene()
        scene.proxies.known = lambda _: False
        scene.proxies.release()
        scene.streams[BAD].request(_returning(type_urls.ENDPOINT, "web"))
        await until(lambda: scene.pushes[BAD].told)

    asyncio.run(main())


def test_it_is_known_what_a_host_serves_once_it_has_said_so_even_if_that_is_nothing() -> None:
    async def scene(world: HostsWorld) -> None:
        agent = world.agent().connect()
        assert world.mesh.said == set()
        agent.say(register=pb.Register(generation=1))
        assert world.mesh.said == {HOST}

    play(scene)
