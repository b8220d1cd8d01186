import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest

from hostmesh_controlplane.edges import host_stream
from hostmesh_controlplane.edges.host_stream import Link, Refusal, Session, host_handlers
from hostmesh_controlplane.edges.mesh_server import ServingCertificate, serve
from hostmesh_controlplane.edges.peer import Peer
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.ids import SpiffeId
from hostmesh_core.rpc import HOST_CONNECT
from hostmesh_testing.certificates import Authority, Leaf, authority
from hostmesh_testing.hosts import DOMAIN, HOST, until

pytestmark = pytest.mark.process

HELLO = pb.Up(hello=pb.Hello(protocol=1, session=b"s" * 16))
FUTURE = b"\x08\x07\xa2\x06\x02\x08\x01"
"""seq 7 and field 100, which no version knows yet."""


class App:
    """The app behind the edge, one stream at a time."""

    def __init__(self) -> None:
        self.refusal: Refusal | None = None
        self.peer: Peer | None = None
        self.hello: pb.Hello | None = None
        self.link: Link | None = None
        self.got: list[pb.Up] = []
        self.ended = 0

    def accept(self, peer: Peer, hello: pb.Hello, link: Link) -> Session | Refusal:
        self.peer, self.hello, self.link = peer, hello, link
        return self.refusal or self

    def received(self, envelope: pb.Up) -> None:
        self.got.append(envelope)

    def closed(self) -> None:
        self.ended += 1


class World:
    """A served edge and a client of it."""

    def __init__(self, app: App, root: Authority, port: int) -> None:
        self.app = app
        self.root = root
        self.port = port

    @asynccontextmanager
    async def call(self, leaf: Leaf | None = None) -> AsyncIterator[Any]:
        """Open a stream that sends and receives raw bytes."""
        leaf = leaf or self.leaf()
        credentials = grpc.ssl_channel_credentials(self.root.root_pem, leaf.key_pem, leaf.chain_pem)
        options = [("grpc.ssl_target_name_override", f"control-plane.{DOMAIN}")]
        address = f"127.0.0.1:{self.port}"
        async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
            call: Any = channel.stream_stream(HOST_CONNECT)()
            try:
                yield call
            finally:
                call.cancel()

    def leaf(self, uri: str = "", life: timedelta = timedelta(hours=1)) -> Leaf:
        return self.root.leaf(uris=(uri or str(SpiffeId.of_host(DOMAIN, HOST)),), life=life)


def play(scene: Callable[[World], Any]) -> None:
    async def whole() -> None:
        root, app = authority(DOMAIN), App()
        serving = root.leaf(dns=(f"control-plane.{DOMAIN}",))
        shown = ServingCertificate(serving.key_pem, serving.chain_pem, root.root_pem)
        async with serve(
            ["127.0.0.1:0"], current=lambda: shown, handlers=[host_handlers(app.accept)]
        ) as ports:
            await scene(World(app, root, ports[0]))

    asyncio.run(whole())


async def ending(call: Any) -> tuple[grpc.StatusCode, str]:
    async with asyncio.timeout(10):
        return await call.code(), str(await call.details())


def test_the_peer_is_read_from_the_certificate_and_envelopes_pass_both_ways() -> None:
    async def scene(world: World) -> None:
        async with world.call() as call:
            await call.write(HELLO.SerializeToString())
            await until(lambda: world.app.link)
            assert world.app.peer is not None
            assert world.app.peer.spiffe.host_id == HOST
            assert world.app.peer.address == "127.0.0.1"
            assert world.app.link is not None
            world.app.link.send(pb.Down(seq=1, pace=pb.Pace(renew_seconds=2)))
            assert pb.Down.FromString(await call.read()).pace.renew_seconds == 2
            await call.write(pb.Up(seq=1, renew=pb.Renew()).SerializeToString())
            await until(lambda: world.app.got)
        await until(lambda: world.app.ended)
        assert world.app.ended == 1

    play(scene)


def test_a_body_from_the_future_survives() -> None:
    async def scene(world: World) -> None:
        async with world.call() as call:
            await call.write(HELLO.SerializeToString() + b"\xa2\x06\x02\x08\x01")
            await call.write(FUTURE)
            await call.write(pb.Up(seq=8, renew=pb.Renew()).SerializeToString())
            await until(lambda: len(world.app.got) == 2)
        assert [envelope.seq for envelope in world.app.got] == [7, 8]
        assert world.app.got[0].WhichOneof("body") is None

    play(scene)


@pytest.mark.parametrize(
    ("first", "code"),
    [
        pytest.param(pb.Up(renew=pb.Renew()).SerializeToString(), "INVALID_ARGUMENT", id="another"),
        pytest.param(b"", "INVALID_ARGUMENT", id="an empty one"),
        pytest.param(b"\xff\xff\xff", "INVALID_ARGUMENT", id="no message at all"),
        pytest.param(b"x" * (9 * 1024 * 1024), "RESOURCE_EXHAUSTED", id="nine megabytes"),
    ],
)
def test_a_stream_begins_with_hello_or_ends(first: bytes, code: str) -> None:
    async def scene(world: World) -> None:
        async with world.call() as call:
            await call.write(first)
            found, details = await ending(call)
            assert found.name == code
            assert details.startswith("cannot")
        assert world.app.link is None

    play(scene)


def test_who_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_stream, "HELLO_SECONDS", 0.3)

    async def scene(world: World) -> None:
        async with world.call() as call:
            assert (await ending(call))[0] is grpc.StatusCode.DEADLINE_EXCEEDED

    play(scene)


@pytest.mark.parametrize(
    ("envelope", "passes"),
    [
        pytest.param(pb.Up(seq=1, answer=pb.Answer(body=b"x" * 4_000_000)), True, id="an answer"),
        pytest.param(
            pb.Up(seq=1, rejected=pb.Rejected(detail="x" * 300_000)), False, id="anything else"
        ),
    ],
)
def test_only_an_answer_may_be_large(envelope: pb.Up, *, passes: bool) -> None:
    async def scene(world: World) -> None:
        async with world.call() as call:
            await call.write(HELLO.SerializeToString())
            await call.write(envelope.SerializeToString())
            if passes:
                await until(lambda: world.app.got)
            else:
                assert (await ending(call))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert world.app.got == []

    play(scene)


@pytest.mark.parametrize(
    ("again", "code"),
    [
        pytest.param(False, grpc.StatusCode.PERMISSION_DENIED, id="for good"),
        pytest.param(True, grpc.StatusCode.UNAVAILABLE, id="for now"),
    ],
)
def test_a_refusal_says_whether_to_come_back(*, again: bool, code: grpc.StatusCode) -> None:
    async def scene(world: World) -> None:
        world.app.refusal = Refusal("cannot accept host: it is revoked", again=again)
        async with world.call() as call:
            await call.write(HELLO.SerializeToString())
            assert await ending(call) == (code, "cannot accept host: it is revoked")
        assert world.app.ended == 0

    play(scene)


def test_what_is_queued_before_the_end_still_arrives() -> None:
    async def scene(world: World) -> None:
        async with world.call() as call:
            await call.write(HELLO.SerializeToString())
            await until(lambda: world.app.link)
            assert world.app.link is not None
            world.app.link.send(pb.Down(seq=1, revoked=pb.Revoked(reason="stolen")))
            world.app.link.close("cannot go on: revoked", again=False)
            assert pb.Down.FromString(await call.read()).revoked.reason == "stolen"
            assert (await ending(call))[0] is grpc.StatusCode.PERMISSION_DENIED
        assert world.app.ended == 1

    play(scene)


def test_a_reader_that_is_too_far_behind_is_cut_off() -> None:
    async def scene(world: World) -> None:
        async with world.call() as call:
            await call.write(HELLO.SerializeToString())
            await until(lambda: world.app.link)
            assert world.app.link is not None
            for _ in range(host_stream.MAX_WAITING + 1):
                world.app.link.send(pb.Down(verdict=pb.Verdict()))
            code, details = await ending(call)
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "connect again" in details

    play(scene)


def test_a_flood_is_read_at_a_bounded_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_stream, "BURST", 10)
    monkeypatch.setattr(host_stream, "PER_SECOND", 20.0)

    async def scene(world: World) -> None:
        async with world.call() as call:
            await call.write(HELLO.SerializeToString())
            for seq in range(1, 101):
                await call.write(pb.Up(seq=seq, renew=pb.Renew()).SerializeToString())
            await asyncio.sleep(1.0)
            assert 20 <= len(world.app.got) <= 60

    play(scene)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            pb.Up(register=pb.Register(services=[pb.ServiceRegistration()] * 9)), id="a Register"
        ),
        pytest.param(
            pb.Up(callers=pb.Callers(services=[pb.ServiceCallers()] * 9)), id="a word on callers"
        ),
    ],
)
def test_what_lists_services_costs_as_many(monkeypatch: pytest.MonkeyPatch, body: pb.Up) -> None:
    monkeypatch.setattr(host_stream, "BURST", 10)
    monkeypatch.setattr(host_stream, "PER_SECOND", 20.0)

    async def scene(world: World) -> None:
        async with world.call() as call:
            await call.write(HELLO.SerializeToString())
            for _ in range(40):
                await call.write(body.SerializeToString())
            await asyncio.sleep(1.0)
            assert 2 <= len(world.app.got) <= 6

    play(scene)


def test_the_stream_ends_with_the_certificate() -> None:
    async def scene(world: World) -> None:
        short = world.leaf(life=timedelta(seconds=2))
        async with world.call(short) as call:
            await call.write(HELLO.SerializeToString())
            await until(lambda: world.app.link)
            code, details = await ending(call)
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert "certificate has ended" in details
        assert world.app.ended == 1

    play(scene)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda w: w.leaf(life=timedelta(seconds=-10)), id="an expired certificate"),
        pytest.param(
            lambda _: authority(DOMAIN).leaf(uris=(str(SpiffeId.of_host(DOMAIN, HOST)),)),
            id="a certificate of another root",
        ),
    ],
)
def test_a_handshake_without_a_valid_certificate_fails(make: Callable[[World], Leaf]) -> None:
    async def scene(world: World) -> None:
        async with world.call(make(world)) as call:
            found, _ = await ending(call)
            assert found is grpc.StatusCode.UNAVAILABLE
        assert world.app.link is None

    play(scene)


def test_a_certificate_without_a_spiffe_id_is_nobody_s() -> None:
    async def scene(world: World) -> None:
        async with world.call(world.root.leaf(dns=("host.example",))) as call:
            await call.write(HELLO.SerializeToString())
            assert (await ending(call))[0] is grpc.StatusCode.UNAUTHENTICATED

    play(scene)
