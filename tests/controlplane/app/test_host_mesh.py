import asyncio
from collections.abc import Awaitable, Callable, Iterable
from copy import deepcopy
from dataclasses import replace

from hostmesh_controlplane.app.host_mesh import HostMesh
from hostmesh_controlplane.app.mesh import Mesh
from hostmesh_controlplane.app.proxies import Proxies
from hostmesh_controlplane.config import ControlPlaneConfig
from hostmesh_controlplane.logic import merge
from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService, SourceChanged
from hostmesh_controlplane.logic.draft import Rules
from hostmesh_controlplane.logic.own_listeners import OwnListeners, Wanted
from hostmesh_controlplane.logic.publication import Publication
from hostmesh_controlplane.logic.registry import Inbound
from hostmesh_controlplane.logic.service_state import Decision, ServiceRecord
from hostmesh_controlplane.logic.vips import VipRanges
from hostmesh_core import names, type_urls
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId
from hostmesh_core.model import (
    Health,
    InboundMode,
    MeshChange,
    Port,
    Protocol,
    RegisteredInstance,
)
from hostmesh_testing.hosts import peer
from hostmesh_testing.memory_store import MemoryStore
from hostmesh_testing.proxy_streams import FakePush, quiet
from hostmesh_testing.xds import ask

WEB = "web.default.mesh.internal"
A, B = "a" * 32, "b" * 32
WHO = Identity("default", "web")
SERVED = Inbound(
    service=WEB,
    service_port=80,
    workload_port=8080,
    identity=WHO,
    protocol=Protocol.HTTP,
    mode=None,
    listen=None,
    mesh_port=0,
    server_first=False,
)
OUTBOUND = ((15001, WHO),)


def _instance(host_id: str, address: str) -> RegisteredInstance:
    return RegisteredInstance(
        host_id=host_id,
        service=WEB,
        namespace="default",
        port=Port(80, Protocol.HTTP),
        keys=(EndpointKey.of(address, 8080),),
        workload_port=8080,
        identity=SpiffeId.of_workload("mesh.internal", WHO),
        health=Health.HEALTHY,
    )


def _known(hosts: HostMesh) -> dict[str, object]:
    """Give copies of everything that it remembers by host or service."""
    return {k: deepcopy(v) for k, v in vars(hosts).items() if isinstance(v, dict | set)}


class Play:
    """Hosts on one side, mesh and streams on the other: all real but the network."""

    def __init__(self) -> None:
        self.publication = Publication()
        self.proxies = Proxies(self.publication.resources)
        self.left: list[set[EndpointKey]] = []
        self.pushes: dict[str, FakePush] = {}
        self.asked_grants = 0
        self.grants = {host: Grant(claims=(Claim("default", "web", "web"),)) for host in (A, B)}
        rules = Rules("mesh.internal", "mesh.internal", (("files", "static"),))
        self.mesh = Mesh(rules, VipRanges(), MemoryStore(), on_changes=self._changed)

        def left_registry(keys: Iterable[EndpointKey]) -> None:
            self.left.append(set(keys))

        self.hosts = HostMesh(
            mesh=self.mesh,
            publication=self.publication,
            proxies=self.proxies,
            grant_of=self._grant_of,
            left_registry=left_registry,
            config=ControlPlaneConfig(),
        )

    def _grant_of(self, host_id: str) -> Grant | None:
        self.asked_grants += 1
        return self.grants.get(host_id)

    def _changed(self, changes: Iterable[MeshChange]) -> None:
        listed = list(changes)
        self.proxies.changed(self.publication.apply(listed))
        self.hosts.services_changed(listed)

    def stream(self, host_id: str, type_url: str, *subscribe: str) -> list[str]:
        """Open a stream that follows these; give what its pushes will be told in."""
        push = self.pushes[host_id] = FakePush()
        opened = self.proxies.open(host_id, f"s-{host_id[0]}", self.hosts.scope(host_id), push)
        opened.request(ask(type_url, *subscribe))
        return push.told

    def told(self, host_id: str) -> list[str]:
        return self.pushes[host_id].told

    def serve(self, host_id: str, *served: Inbound) -> None:
        self.hosts.on_inbound(host_id, served, OUTBOUND, OwnListeners())

    async def list(self, *addresses: str) -> None:
        endpoints = tuple(CatalogEndpoint(EndpointKey.of(a, 8080)) for a in addresses)
        service = CatalogService(WEB, "default", ports=(Port(80),), endpoints=endpoints)
        event = SourceChanged("files", WEB, service)
        await self.mesh.apply(lambda state: merge.source_changed(state, event))


def _run(scene: Callable[[Play], Awaitable[None]]) -> None:
    async def main() -> None:
        play = Play()
        play.proxies.release()
        async with asyncio.TaskGroup() as tasks:
            merging = tasks.create_task(play.mesh.run())
            await scene(play)
            merging.cancel()

    asyncio.run(main())


def test_what_a_host_serves_is_rendered_for_it_alone() -> None:
    async def scene(play: Play) -> None:
        play.stream(A, type_urls.CLUSTER, "*")
        play.stream(B, type_urls.CLUSTER, "*")
        play.serve(A, SERVED)
        assert any("+inbound|8080||" in text for text in play.told(A))
        assert play.told(B) == []
        play.serve(A)
        assert any("-inbound|8080||" in text for text in play.told(A))
        assert play.told(B) == []

    _run(scene)


def test_the_mode_that_an_operator_sets_reaches_the_hosts_that_serve_it() -> None:
    async def scene(play: Play) -> None:
        await play.hosts.on_instances(A, (_instance(A, "10.0.0.1"),))
        play.serve(A, SERVED)
        play.serve(B, replace(SERVED, service="other.default.mesh.internal", workload_port=9090))
        play.stream(A, type_urls.LISTENER, names.VIRTUAL_INBOUND)
        play.stream(B, type_urls.LISTENER, names.VIRTUAL_INBOUND)
        strict = Decision(ServiceRecord(inbound=InboundMode.STRICT))
        await play.mesh.decide(WEB, lambda *_: strict)
        assert play.told(A) == [f"LDS +{names.VIRTUAL_INBOUND}"]
        assert play.told(B) == []

    _run(scene)


def test_a_changed_identity_shows_the_host_another_view_once() -> None:
    async def scene(play: Play) -> None:
        play.serve(A, SERVED)
        assert play.hosts.scope(A).identities == OUTBOUND
        play.grants[A] = Grant(claims=(Claim("default", "web", "web"), Claim("default", "batch")))
        play.hosts.on_inbound(
            A, (SERVED,), ((15001, Identity("default", "batch")),), OwnListeners()
        )
        assert play.hosts.scope(A).identities == ((15001, Identity("default", "batch")),)

    _run(scene)


def test_an_identity_outside_the_grant_speaks_for_nobody() -> None:
    async def scene(play: Play) -> None:
        play.grants[A] = Grant(claims=(Claim("default", "a"), Claim("default", "b")))
        stranger = ((15001, Identity("default", "payments")),)
        play.hosts.on_inbound(A, (), stranger, OwnListeners())
        assert play.hosts.scope(A).identities == ()
        assert play.hosts.scope("nobody").identities == ()

    _run(scene)


def test_a_registration_is_merged_and_what_it_leaves_out_is_told_to_the_catalogs() -> None:
    async def scene(play: Play) -> None:
        await play.list("10.0.0.1", "10.0.0.2")
        assert play.hosts.catalogued(WEB) == {
            EndpointKey.of("10.0.0.1", 8080),
            EndpointKey.of("10.0.0.2", 8080),
        }
        assert play.hosts.catalogued("nothing") == frozenset()
        await play.hosts.on_instances(A, (_instance(A, "10.0.0.1"), _instance(A, "10.0.0.2")))
        assert play.hosts.summary(WEB) == ("mixed", 2, 2)
        await play.hosts.on_instances(A, (_instance(A, "10.0.0.1"),))
        assert play.left == [set(), {EndpointKey.of("10.0.0.2", 8080)}]
        assert play.hosts.summary("nothing") == ("plain", 0, 0)

    _run(scene)


def test_what_catalogs_list_is_gathered_once_however_many_hosts_ask() -> None:
    async def scene(play: Play) -> None:
        await play.list("10.0.0.1")
        before = play.hosts.catalogued(WEB)
        assert play.hosts.catalogued(WEB) is before
        await play.list("10.0.0.2")
        assert play.hosts.catalogued(WEB) == {EndpointKey.of("10.0.0.2", 8080)}
        nothing = SourceChanged("files", WEB, None)
        await play.mesh.apply(lambda state: merge.source_changed(state, nothing))
        assert play.hosts.catalogued(WEB) == frozenset()

    _run(scene)


def test_of_a_forgotten_host_nothing_is_left() -> None:
    async def scene(play: Play) -> None:
        upstream = Wanted("db.default.mesh.internal", 5432, "127.0.0.1", 5432)
        await play.hosts.on_instances(B, (_instance(B, "10.0.0.2"),))
        play.serve(B, SERVED)
        kept = _known(play.hosts)
        play.hosts.on_connected(A, peer(A, address="10.0.0.4"), pb.Hello())
        play.hosts.on_inbound(A, (SERVED,), OUTBOUND, OwnListeners(upstreams=(upstream,)))
        play.hosts.on_node(A, has_ipv6=False)
        assert play.hosts.upstream_notes(A)
        assert list(play.publication.inbound(A).names(type_urls.CLUSTER))
        play.hosts.forget(A)
        assert _known(play.hosts) == kept
        assert not list(play.publication.inbound(A).names(type_urls.CLUSTER))
        assert play.hosts.scope(A).families == play.hosts.scope(B).families
        play.hosts.forget(A)

    _run(scene)


def test_a_proxy_follows_the_mesh_while_it_has_a_stream() -> None:
    async def scene(play: Play) -> None:
        play.stream(A, type_urls.CLUSTER, "*")
        assert play.hosts.follows(A)
        assert not play.hosts.follows(B)
        (stream,) = play.proxies.of_host(A)
        stream.closed()
        assert not play.hosts.follows(A)

    _run(scene)


def test_endpoints_that_come_and_go_render_no_host_s_own_resources_again() -> None:
    async def scene(play: Play) -> None:
        play.serve(A, SERVED)
        await play.list("10.0.0.1")
        before = play.publication.inbound(A)
        asked = play.asked_grants
        await play.list("10.0.0.1", "10.0.0.2")
        assert play.asked_grants == asked, "nothing was rendered that depends on the grant"
        assert play.publication.inbound(A) is before

    _run(scene)


def test_silence_takes_a_host_out_whatever_the_catalog_says() -> None:
    async def scene(play: Play) -> None:
        await play.list("10.0.0.1", "10.0.0.2")
        await play.hosts.on_instances(A, (_instance(A, "10.0.0.1"),))
        await play.hosts.on_lease_ended(A, ())
        state, meshed, endpoints = play.hosts.summary(WEB)
        assert (state, meshed, endpoints) == ("mixed", 0, 1)

    _run(scene)


def test_the_mode_in_force_is_what_service_and_mesh_make_of_the_host_s_word() -> None:
    async def scene(play: Play) -> None:
        assert play.hosts.inbound_mode(WEB, None) is InboundMode.PERMISSIVE
        assert play.hosts.inbound_mode(WEB, InboundMode.STRICT) is InboundMode.STRICT
        assert play.hosts.inbound_mode("nothing", InboundMode.DISABLE) is InboundMode.DISABLE

    _run(scene)


def test_a_drain_ends_when_those_who_follow_the_service_have_applied_it() -> None:
    async def scene(play: Play) -> None:
        gone = _instance(A, "10.0.0.1")
        await play.hosts.on_instances(A, (gone,))
        cluster = names.outbound_cluster(WEB, 80)
        play.stream(B, type_urls.ENDPOINT, cluster)
        await play.hosts.on_instances(A, ())
        async with asyncio.TaskGroup() as tasks:
            drained = tasks.create_task(play.hosts.drained(A, (gone,)))
            await quiet()
            assert not drained.done()
            (stream,) = play.proxies.of_host(B)
            sent = stream.delta.status()[type_urls.ENDPOINT].sent
            report = pb.Applied(
                type_url=type_urls.ENDPOINT, version=str(sent), stream_id=stream.stream_id
            )
            play.hosts.on_applied(A, report)  # the leaving host's word about a peer is none
            await quiet()
            assert not drained.done()
            play.hosts.on_applied(B, report)
        assert drained.result()

    _run(scene)


def test_where_a_host_s_stream_comes_from_is_known_while_it_lives() -> None:
    async def scene(play: Play) -> None:
        assert play.hosts.connected(A) == ""
        play.hosts.on_connected(A, peer(A, address="10.0.0.4"), pb.Hello())
        assert play.hosts.connected(A) == "10.0.0.4"
        play.hosts.on_disconnected(A)
        play.hosts.on_disconnected(A)
        assert play.hosts.connected(A) == ""

    _run(scene)


def test_callers_count_for_what_the_host_may_serve_now_and_go_with_it() -> None:
    async def scene(play: Play) -> None:
        told = pb.ServiceCallers(service="web", workload_port=8080, plaintext=14)
        play.hosts.on_callers(A, pb.Callers(services=[told]))
        assert play.hosts.callers(WEB) == []  # before it has declared anything
        play.serve(A, SERVED)
        assert [(host, one.plaintext) for host, one in play.hosts.callers(WEB)] == [(A, 14)]
        play.serve(A)  # its grant covers the service no more
        assert play.hosts.callers(WEB) == []
        play.serve(A, SERVED)
        play.hosts.forget(A)
        play.serve(A, SERVED)
        assert play.hosts.callers(WEB) == []

    _run(scene)


def test_a_hosts_own_word_about_the_mode_is_known() -> None:
    async def scene(play: Play) -> None:
        play.serve(A, replace(SERVED, mode=InboundMode.STRICT))
        play.serve(B, SERVED)
        assert play.hosts.own_modes(WEB) == {A: {InboundMode.STRICT}}

    _run(scene)
