"""The aggregated discovery service: one delta stream per agent, and the older state-of-the-world.

Knows who is at the other end, moves messages, ends a stream with its certificate, and keeps slow
readers from filling the memory. What to answer, the app's session says.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import grpc
import grpc.aio
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.message import Message

from hostmesh_controlplane.edges.peer import Peer, UnknownPeer, peer_of
from hostmesh_core.rpc import DELTA_ADS, SOTW_ADS, STREAM_ID_METADATA

LARGE_BYTES = 64 * 1024
LARGE_WRITES = 32
"""Concurrent writes of more than LARGE_BYTES: unbounded, 2000 cold streams took up to 2.1 GB."""
WRITE_SECONDS = 30.0
"""Whoever takes longer to read one message is cut off: it comes back and asks anew."""

Request = TypeVar("Request", contravariant=True)
Pushed = TypeVar("Pushed", contravariant=True)
Answered = TypeVar("Answered", covariant=True)
Context = grpc.aio.ServicerContext[Any, bytes]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a stream is not taken."""

    reason: str
    again: bool = True
    """Whether asking again, or elsewhere, may help: UNAVAILABLE, else PERMISSION_DENIED."""


class Push(Protocol, Generic[Pushed]):
    """How the app reaches a stream at any time. From the event loop only."""

    @property
    def backlog(self) -> int:
        """Messages that wait to be written; above 0 the reader is slower than the changes."""

    def send(self, responses: Sequence[Pushed]) -> None:
        """Queue responses, in order, behind those that wait already."""

    def close(self, reason: str) -> None:
        """End the stream."""


class Session(Protocol, Generic[Request, Answered]):
    """What the app makes of one stream."""

    def request(self, request: Request) -> Sequence[Answered]:
        """Take a request, give what to answer at once."""

    def closed(self) -> None:
        """Forget the stream: it has ended, whoever ended it. Called once."""


AdsSession = Session[DeltaDiscoveryRequest, DeltaDiscoveryResponse]
SotwSession = Session[DiscoveryRequest, DiscoveryResponse]
Accept = Callable[[Peer, Push[DeltaDiscoveryResponse]], AdsSession | Refusal]
AcceptSotw = Callable[[Peer, Push[DiscoveryResponse]], SotwSession | Refusal]


def ads_handlers(accept: Accept, accept_sotw: AcceptSotw | None = None) -> grpc.GenericRpcHandler:
    """Build the handlers of both variants; without `accept_sotw` the older one is refused."""
    large = asyncio.Semaphore(LARGE_WRITES)

    async def delta(_: object, context: Context) -> None:
        await _serve(context, accept, large)

    async def sotw(_: object, context: Context) -> None:
        if accept_sotw is None:
            await context.abort(
                grpc.StatusCode.UNIMPLEMENTED, "cannot serve state of the world: use delta ADS"
            )
        await _serve(context, accept_sotw, large)

    return _Handlers(
        {
            DELTA_ADS: (delta, DeltaDiscoveryRequest.FromString),
            SOTW_ADS: (sotw, DiscoveryRequest.FromString),
        }
    )


class _Handlers(grpc.GenericRpcHandler):
    """Finds a method by its full name: one dictionary, no generated stubs."""

    def __init__(
        self,
        methods: dict[
            str, tuple[Callable[[object, Context], Awaitable[None]], Callable[[bytes], Any]]
        ],
    ) -> None:
        # Responses leave as bytes: the stream serialises them itself, to know their size.
        self._methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.stream_stream_rpc_method_handler(
                behaviour,
                request_deserializer=parse,
            )
            for name, (behaviour, parse) in methods.items()
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        return self._methods.get(handler_call_details.method)


class _Ended(Exception):
    """The stream is over, for this reason."""

    def __init__(self, code: grpc.StatusCode, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def _serve(
    context: Context,
    accept: Callable[[Peer, Push[Any]], Session[Any, Any] | Refusal],
    large: asyncio.Semaphore,
) -> None:
    try:
        peer = peer_of(context)
    except UnknownPeer as error:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
    stream = _Stream(context, large)
    session = accept(peer, stream)
    if isinstance(session, Refusal):
        again, never = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED
        await context.abort(again if session.again else never, session.reason)
    try:
        await context.send_initial_metadata(((STREAM_ID_METADATA, peer.stream_id),))
        ended = await _run(stream, session, peer.not_after - time.time())
    finally:
        session.closed()
    if ended.code is not grpc.StatusCode.OK:
        await context.abort(ended.code, ended.reason)


async def _run(stream: "_Stream", session: Session[Any, Any], seconds: float) -> _Ended:
    """Move messages both ways until one side ends the stream or the certificate does."""
    ended = _Ended(grpc.StatusCode.UNAUTHENTICATED, "cannot go on: the certificate has ended")
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            tasks.create_task(stream.write())
            tasks.create_task(stream.read(session))
    except* (TimeoutError, _Ended) as group:
        said = (error for error in group.exceptions if isinstance(error, _Ended))
        ended = next(said, ended)
    return ended


class _Stream:
    """The `Push` of one stream, and the two loops behind it."""

    def __init__(self, context: Context, large: asyncio.Semaphore) -> None:
        self._context = context
        self._large = large
        self._waiting: deque[Message] = deque()
        self._wake = asyncio.Event()
        self._writing = False
        self._closed: _Ended | None = None

    @property
    def backlog(self) -> int:
        return len(self._waiting) + self._writing

    def send(self, responses: Sequence[Message]) -> None:
        self._waiting.extend(responses)
        self._wake.set()

    def close(self, reason: str) -> None:
        self._closed = _Ended(grpc.StatusCode.UNAVAILABLE, reason)
        self._wake.set()

    async def read(self, session: Session[Any, Any]) -> NoReturn:
        while (request := await self._context.read()) is not grpc.aio.EOF:
            if responses := session.request(request):
                self.send(responses)
        raise _Ended(grpc.StatusCode.OK)

    async def write(self) -> NoReturn:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting and self._closed is None:
                self._writing = True
                await self._write_one(self._waiting.popleft().SerializeToString())
                self._writing = False
            if self._closed is not None:
                raise self._closed

    async def _write_one(self, data: bytes) -> None:
        try:
            if len(data) <= LARGE_BYTES:
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._context.write(data)
            else:
                async with self._large, asyncio.timeout(WRITE_SECONDS):
                    await self._context.write(data)
        except TimeoutError as error:
            raise _Ended(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"cannot send: a message was not read within {WRITE_SECONDS:.0f} s; connect again",
            ) from error
