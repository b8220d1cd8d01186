"""The host stream's server side (DESIGN 7): bytes to envelopes and back, limits, and the end.

Knows who is at the other end, reads one envelope at a time at a bounded pace, bounds what waits to
be written, and ends the stream with the certificate. What is said, the app's session decides.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from hostmesh_controlplane.edges.peer import Peer, UnknownPeer, peer_of
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.rpc import HOST_CONNECT

HELLO_SECONDS = 10.0
WRITE_SECONDS = 30.0
FLUSH_SECONDS = 1.0
MAX_ENVELOPE_BYTES = 256 * 1024
MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""An Answer carries what an operator asked of the host's Envoy."""
MAX_WAITING = 512
"""Envelopes; a reader that is further behind is cut off and gets them again when it is back."""
BURST = 500
PER_SECOND = 100.0
"""What an envelope of one stream costs beyond the burst waits: reading stops, so does the sender.
What a host's words may cost beyond being read, the app bounds per host.
"""

Context = grpc.aio.ServicerContext[Any, bytes]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a stream is not taken. `again`: whether asking again, or elsewhere, may help."""

    reason: str
    again: bool = False


class Link(Protocol):
    """How the app reaches a stream at any time. From the event loop only."""

    def send(self, envelope: pb.Down) -> None:
        """Queue an envelope."""

    def close(self, reason: str, *, again: bool) -> None:
        """End the stream after what is queued. `again`: whether the agent may come back."""


class Session(Protocol):
    """What the app makes of one stream."""

    def received(self, envelope: pb.Up) -> None:
        """Take one envelope."""

    def closed(self) -> None:
        """Forget the stream: it has ended, whoever ended it. Called once."""


Accept = Callable[[Peer, pb.Hello, Link], Session | Refusal]


def host_handlers(accept: Accept) -> grpc.GenericRpcHandler:
    """Build the handler of `hostmesh.v1.Host/Connect`."""

    async def connect(_: object, context: Context) -> None:
        await _serve(context, accept)

    return _Handlers(connect)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, connect: Any) -> None:
        # Bytes both ways: an envelope's size is judged before it is parsed.
        self._method: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            connect
        )

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        return self._method if handler_call_details.method == HOST_CONNECT else None


class _Ended(Exception):
    def __init__(self, code: grpc.StatusCode, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def _serve(context: Context, accept: Accept) -> None:
    try:
        peer = peer_of(context)
        async with asyncio.timeout(HELLO_SECONDS):
            hello = await _hello(context)
    except UnknownPeer as error:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
    except TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "cannot wait longer for Hello")
    except _Ended as early:
        await context.abort(early.code, early.reason)
    stream = _Stream(context)
    session = accept(peer, hello, stream)
    if isinstance(session, Refusal):
        again, never = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED
        await context.abort(again if session.again else never, session.reason)
    try:
        ended = await _run(stream, session, peer.not_after)
    finally:
        session.closed()
    if ended.code is not grpc.StatusCode.OK:
        await context.abort(ended.code, ended.reason)


async def _hello(context: Context) -> pb.Hello:
    data = await context.read()
    envelope = pb.Up() if data is grpc.aio.EOF else _parse(data)
    if envelope.WhichOneof("body") != "hello":
        raise _Ended(grpc.StatusCode.INVALID_ARGUMENT, "cannot begin without Hello")
    return envelope.hello


async def _run(stream: "_Stream", session: Session, not_after: float) -> _Ended:
    """Move envelopes both ways until one side ends the stream or the certificate does."""
    ended = _Ended(grpc.StatusCode.OK)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stream.write())
            tasks.create_task(stream.read(session))
            tasks.create_task(stream.closing())
            tasks.create_task(_until(not_after))
    except* _Ended as group:
        ended = next(error for error in group.exceptions if isinstance(error, _Ended))
    return ended


async def _until(not_after: float) -> NoReturn:
    # In steps: the wall clock may be set, and a suspended machine's sleep does not count.
    while (left := not_after - time.time()) > 0:  # noqa: ASYNC110 (no event tells of wall time)
        await asyncio.sleep(min(left, 30.0))
    raise _Ended(grpc.StatusCode.UNAUTHENTICATED, "cannot go on: the certificate has ended")


def _parse(data: bytes) -> pb.Up:
    envelope = pb.Up()
    try:
        if len(data) <= MAX_ANSWER_BYTES:
            envelope.ParseFromString(data)
    except DecodeError as error:
        raise _Ended(grpc.StatusCode.INVALID_ARGUMENT, "cannot read the message") from error
    allowed = MAX_ANSWER_BYTES if envelope.WhichOneof("body") == "answer" else MAX_ENVELOPE_BYTES
    if len(data) > allowed:
        raise _Ended(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"cannot take a message of {len(data)} bytes: at most {allowed}",
        )
    return envelope


def _cost(envelope: pb.Up) -> float:
    """Give what taking an envelope in costs: most are one thing, two are lists of services."""
    match envelope.WhichOneof("body"):
        case "register":
            return 1.0 + len(envelope.register.services)
        case "callers":
            return 1.0 + len(envelope.callers.services)
        case _:
            return 1.0


class _Stream:
    """The `Link` of one stream, and the two loops behind it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: deque[pb.Down] = deque()
        self._wake = asyncio.Event()
        self._closing: _Ended | None = None
        self._closed = asyncio.Event()
        self._allowed = float(BURST)
        self._allowed_at = time.monotonic()

    def send(self, envelope: pb.Down) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.clear()
            self.close("cannot send: too much waits to be read; connect again", again=True)
            return
        self._waiting.append(envelope)
        self._wake.set()

    def close(self, reason: str, *, again: bool) -> None:
        if self._closing is None:
            code = grpc.StatusCode.UNAVAILABLE if again else grpc.StatusCode.PERMISSION_DENIED
            self._closing = _Ended(code, reason)
            self._closed.set()
            self._wake.set()

    async def closing(self) -> NoReturn:
        await self._closed.wait()
        # A reader that does not read must not put off its own end.
        await asyncio.sleep(FLUSH_SECONDS)
        raise self._closing or _Ended(grpc.StatusCode.OK)

    async def read(self, session: Session) -> NoReturn:
        while (data := await self._context.read()) is not grpc.aio.EOF:
            envelope = _parse(data)
            session.received(envelope)
            await self._pace(_cost(envelope))
        raise _Ended(grpc.StatusCode.OK)

    async def write(self) -> NoReturn:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._write_one(self._waiting.popleft())
            if self._closing is not None:
                raise self._closing

    async def _write_one(self, envelope: pb.Down) -> None:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._context.write(envelope.SerializeToString())
        except TimeoutError as error:
            raise _Ended(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"cannot send: a message was not read within {WRITE_SECONDS:.0f} s; connect again",
            ) from error

    async def _pace(self, cost: float) -> None:
        now = time.monotonic()
        self._allowed = min(BURST, self._allowed + (now - self._allowed_at) * PER_SECOND)
        self._allowed_at = now
        self._allowed -= cost
        if self._allowed < 0:
            await asyncio.sleep(-self._allowed / PER_SECOND)
