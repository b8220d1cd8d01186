"""The real gRPC server on loopback, mutual TLS, against a plain gRPC client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from hostmesh_controlplane.edges import ads_server, mesh_server
from hostmesh_controlplane.edges.ads_server import AdsSession, Push, Refusal
from hostmesh_controlplane.edges.mesh_server import ServingCertificate
from hostmesh_controlplane.edges.peer import Peer
from hostmesh_core.rpc import CLIENT_OPTIONS, DELTA_ADS, SOTW_ADS, STREAM_ID_METADATA
from hostmesh_core.type_urls import CLUSTER
from hostmesh_core.xds.sotw import SotwStream, SotwTurn
from hostmesh_testing.certificates import Authority, Leaf, authority
from hostmesh_testing.xds import World, cluster

HOST = "spiffe://mesh.internal/hostmesh/host/" + "a" * 32
SERVER = "control-plane.mesh.internal"
Call = grpc.aio.StreamStreamCall[Any, Any]


class EchoSession:
    """Answers each request with its type, and remembers everything."""

    def __init__(self, peer: Peer, push: Push[DeltaDiscoveryResponse]) -> None:
        self.peer = peer
        self.push = push
        self.closings = 0

    def request(self, request: DeltaDiscoveryRequest) -> Sequence[DeltaDiscoveryResponse]:
        return [DeltaDiscoveryResponse(type_url=request.type_url, nonce="1")]

    def closed(self) -> None:
        self.closings += 1


class Bench:
    """A server and what its app saw."""

    def __init__(self) -> None:
        self.root = authority()
        self.sessions: list[EchoSession] = []
        self.refusal: Refusal | None = None
        self.serving = self.certificate(self.root)
        self.port = 0

    def certificate(self, root: Authority) -> ServingCertificate:
        leaf = root.leaf(dns=(SERVER,))
        return ServingCertificate(leaf.key_pem, leaf.chain_pem, root.root_pem)

    def accept(self, peer: Peer, push: Push[DeltaDiscoveryResponse]) -> AdsSession | Refusal:
        if self.refusal is not None:
            return self.refusal
        self.sessions.append(EchoSession(peer, push))
        return self.sessions[-1]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Bench"]:
        handlers = [ads_server.ads_handlers(self.accept)]
        addresses = ["127.0.0.1:0", "[::1]:0"]
        async with mesh_server.serve(
            addresses, current=lambda: self.serving, handlers=handlers
        ) as ports:
            self.port = ports[0]
            yield self

    def channel(self, leaf: Leaf | None = None, roots: bytes | None = None) -> grpc.aio.Channel:
        leaf = leaf or self.root.leaf(uris=(HOST,))
        credentials = grpc.ssl_channel_credentials(
            roots or self.root.root_pem, leaf.key_pem, leaf.chain_pem
        )
        options = [*CLIENT_OPTIONS, ("grpc.ssl_target_name_override", SERVER)]
        return grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options)

    @asynccontextmanager
    async def dial(
        self, leaf: Leaf | None = None, method: str = DELTA_ADS, roots: bytes | None = None
    ) -> AsyncIterator[Call]:
        async with self.channel(leaf, roots) as channel:
            stream: Call = channel.stream_stream(
                method,
                request_serializer=DeltaDiscoveryRequest.SerializeToString,
                response_deserializer=DeltaDiscoveryResponse.FromString,
            )()
            try:
                yield stream
            finally:
                stream.cancel()


def run(scenario: Callable[[Bench], Awaitable[None]]) -> Bench:
    async def main() -> Bench:
        async with asyncio.timeout(20), Bench().running() as bench:
            await scenario(bench)
        return bench

    return asyncio.run(main())


async def receive(stream: Call) -> Any:
    """Read one message; a stream that ended instead fails by its missing fields."""
    return await stream.read()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.01)


def test_requests_are_answered_and_pushes_arrive_and_the_stream_has_its_id() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.dial() as stream:
            metadata = dict(await stream.initial_metadata())
            (session,) = bench.sessions
            assert metadata[STREAM_ID_METADATA] == session.peer.stream_id
            assert str(session.peer.spiffe) == HOST
            assert session.peer.address == "127.0.0.1"
            await stream.write(DeltaDiscoveryRequest(type_url=CLUSTER))
            assert (await receive(stream)).type_url == CLUSTER
            session.push.send([DeltaDiscoveryResponse(nonce=str(n)) for n in range(3)])
            assert [(await receive(stream)).nonce for _ in range(3)] == ["0", "1", "2"]
            await until(lambda: session.push.backlog == 0)
        await until(lambda: session.closings == 1)

    run(scenario)


def test_a_client_that_ends_its_side_ends_the_stream() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.dial() as stream:
            await stream.initial_metadata()
            await stream.done_writing()
            assert await stream.code() is grpc.StatusCode.OK
            await until(lambda: bench.sessions[0].closings == 1)

    run(scenario)


def test_a_stream_that_the_app_closes_says_why() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.dial() as stream:
            await stream.initial_metadata()
            bench.sessions[0].push.close("cannot go on: revoked")
            assert await stream.code() is grpc.StatusCode.UNAVAILABLE
            assert await stream.details() == "cannot go on: revoked"
            assert bench.sessions[0].closings == 1

    run(scenario)


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        pytest.param(
            Refusal("cannot serve yet"), grpc.StatusCode.UNAVAILABLE, id="for now: ask elsewhere"
        ),
        pytest.param(
            Refusal("no host", again=False), grpc.StatusCode.PERMISSION_DENIED, id="for good"
        ),
    ],
)
def test_a_refused_stream_says_why(refusal: Refusal, code: grpc.StatusCode) -> None:
    async def scenario(bench: Bench) -> None:
        bench.refusal = refusal
        async with bench.dial() as stream:
            assert await stream.code() is code
            assert await stream.details() == refusal.reason

    assert run(scenario).sessions == []


def test_a_stream_ends_with_its_certificate() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.dial(bench.root.leaf(uris=(HOST,), life=timedelta(seconds=2))) as stream:
            await stream.initial_metadata()
            assert await stream.code() is grpc.StatusCode.UNAUTHENTICATED
            assert await stream.details() == "cannot go on: the certificate has ended"
            assert bench.sessions[0].closings == 1

    run(scenario)


def test_nobody_gets_in_without_a_certificate_of_ours() -> None:
    async def scenario(bench: Bench) -> None:
        stranger = authority().leaf(uris=(HOST,))
        async with bench.dial(stranger) as stream:
            assert await stream.code() is grpc.StatusCode.UNAVAILABLE
        nobody = bench.root.leaf()
        async with bench.dial(nobody) as stream:
            assert await stream.code() is grpc.StatusCode.UNAUTHENTICATED

    assert run(scenario).sessions == []


def test_state_of_the_world_is_refused_with_the_way_out() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.dial(method=SOTW_ADS) as stream:
            assert await stream.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "use delta ADS" in (await stream.details() or "")

    run(scenario)


def test_certificate_and_roots_change_without_a_restart() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.dial() as before:
            await before.initial_metadata()
            other = authority()
            bench.serving = bench.certificate(other)
            leaf = other.leaf(uris=(HOST,))
            async with bench.dial(leaf, roots=other.root_pem) as after:
                await after.write(DeltaDiscoveryRequest(type_url=CLUSTER))
                assert (await receive(after)).type_url == CLUSTER
            await before.write(DeltaDiscoveryRequest(type_url=CLUSTER))
            assert (await receive(before)).type_url == CLUSTER, "an open stream is not touched"
            async with bench.dial() as old:
                assert await old.code() is grpc.StatusCode.UNAVAILABLE

    run(scenario)


def test_a_slow_reader_is_cut_off_and_others_are_served_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ads_server, "WRITE_SECONDS", 0.5)
    monkeypatch.setattr(ads_server, "LARGE_WRITES", 1)

    async def scenario(bench: Bench) -> None:
        large = DeltaDiscoveryResponse(system_version_info="x" * 1_000_000)
        async with AsyncExitStack() as stack:
            slow = await stack.enter_async_context(bench.dial())
            await slow.initial_metadata()
            quick = await stack.enter_async_context(bench.dial())
            await quick.initial_metadata()
            bench.sessions[0].push.send([large] * 20)
            await asyncio.sleep(0.05)
            assert bench.sessions[0].push.backlog > 0
            await quick.write(DeltaDiscoveryRequest(type_url=CLUSTER))
            assert (await receive(quick)).type_url == CLUSTER
            await until(lambda: bench.sessions[0].closings == 1)
            bench.sessions[1].push.send([large])
            assert len((await receive(quick)).system_version_info) == 1_000_000

    run(scenario)


def test_an_address_in_use_is_named_with_the_setting() -> None:
    async def scenario(bench: Bench) -> None:
        address = f"127.0.0.1:{bench.port}"
        with pytest.raises(mesh_server.CannotListen, match=f"cannot listen on {address}"):
            async with mesh_server.serve([address], current=lambda: bench.serving, handlers=[]):
                pass

    run(scenario)


class RawSotw:
    """State of the world from one set of resources."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stream = SotwStream()
        self.turns: list[SotwTurn] = []

    def request(self, request: DiscoveryRequest) -> Sequence[DiscoveryResponse]:
        self.turns.append(self.stream.on_request(request, self.world))
        return self.turns[-1].responses

    def closed(self) -> None:
        """Nothing is kept."""


def test_a_raw_state_of_the_world_stream() -> None:
    async def main() -> None:
        bench = Bench()
        world = World(cluster("a"), cluster("b"))
        sessions: list[tuple[RawSotw, Push[DiscoveryResponse]]] = []

        def accept(_: Peer, push: Push[DiscoveryResponse]) -> RawSotw:
            sessions.append((RawSotw(world), push))
            return sessions[-1][0]

        handlers = [ads_server.ads_handlers(bench.accept, accept)]
        async with (
            mesh_server.serve(
                ["127.0.0.1:0"], current=lambda: bench.serving, handlers=handlers
            ) as (bench.port,),
            bench.channel() as channel,
        ):
            call: Any = channel.stream_stream(
                SOTW_ADS,
                request_serializer=DiscoveryRequest.SerializeToString,
                response_deserializer=DiscoveryResponse.FromString,
            )()
            await call.write(DiscoveryRequest(type_url=CLUSTER))
            first = await call.read()
            bodies = [cluster("a").body, cluster("b").body]
            assert [item.value for item in first.resources] == bodies
            await call.write(
                DiscoveryRequest(
                    type_url=CLUSTER, version_info=first.version_info, response_nonce=first.nonce
                )
            )
            session, push = sessions[0]
            await until(lambda: len(session.turns) == 2)
            assert session.turns[1].acked is not None
            push.send(session.stream.on_change(world.drop(CLUSTER, "a"), world))
            second = await call.read()
            assert [item.value for item in second.resources] == [cluster("b").body]
            call.cancel()

    asyncio.run(main())
