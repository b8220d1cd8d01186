"""The relay's ADS server for Envoy, on a unix socket that the kernel guards (0660 and group)."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_core.errors import HostmeshError
from hostmesh_core.rpc import DELTA_ADS, SERVER_OPTIONS

SOCKET_UMASK = 0o117
"""Set while the socket is made, so that there is no moment at which others may connect."""


class CannotServeEnvoy(HostmeshError):
    """The socket cannot be made."""


class Session(Protocol):
    """What the app makes of one Envoy's stream."""

    def request(self, request: DeltaDiscoveryRequest) -> None:
        """Take a request; answers go to the outbox."""

    def closed(self) -> None:
        """Forget the stream. Called once."""


class Outbox:
    """Responses on their way to one Envoy, in order."""

    def __init__(self) -> None:
        """Begin empty."""
        self._waiting: deque[DeltaDiscoveryResponse] = deque()
        self._wake = asyncio.Event()

    def send(self, responses: Iterable[DeltaDiscoveryResponse]) -> None:
        """Queue responses. From the event loop only."""
        self._waiting.extend(responses)
        self._wake.set()

    async def next(self) -> DeltaDiscoveryResponse:
        """Wait for the next response to write."""
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()


Accept = Callable[[Outbox], Session]


@asynccontextmanager
async def serve(path: str, accept: Accept) -> AsyncIterator[None]:
    """Serve on the socket until left. Raises CannotServeEnvoy."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((_Handler(accept),))
    folder = Path(path).parent
    before = os.umask(SOCKET_UMASK)
    try:
        # What a killed agent left behind: there is one agent per instance.
        Path(path).unlink(missing_ok=True)
        server.add_insecure_port(f"unix:{path}")
    except (OSError, RuntimeError) as error:
        await server.stop(None)
        raise CannotServeEnvoy(
            f"cannot make {path} for Envoy: check that {folder} exists and belongs to the agent"
        ) from error
    finally:
        os.umask(before)
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, accept: Accept) -> None:
        async def behaviour(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await _follow(context, accept)

        self._method: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            behaviour,
            request_deserializer=DeltaDiscoveryRequest.FromString,
            response_serializer=DeltaDiscoveryResponse.SerializeToString,
        )

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        return self._method if handler_call_details.method == DELTA_ADS else None


class _Ended(Exception):
    """Envoy has ended its stream."""


async def _follow(context: "grpc.aio.ServicerContext[Any, Any]", accept: Accept) -> None:
    outbox = Outbox()
    session = accept(outbox)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_read(context, session))
            tasks.create_task(_write(context, outbox))
    except* _Ended:
        pass
    finally:
        session.closed()


async def _read(context: "grpc.aio.ServicerContext[Any, Any]", session: Session) -> NoReturn:
    while (request := await context.read()) is not grpc.aio.EOF:
        session.request(request)
    raise _Ended


async def _write(context: "grpc.aio.ServicerContext[Any, Any]", outbox: Outbox) -> NoReturn:
    while True:
        await context.write(await outbox.next())
