"""One delta ADS stream to one control plane, over mutual TLS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_core.errors import Unreachable
from hostmesh_core.rpc import CLIENT_OPTIONS, DELTA_ADS, STREAM_ID_METADATA

CONNECT_SECONDS = 4.0
"""From the first packet to the control plane's word that it takes the stream; as patient as the
host stream (`host_client`), for the same reason."""

_OPTIONS = (
    *CLIENT_OPTIONS,
    # A channel of its own for each try: what failed for the last one must not slow this one down.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.service_config_disable_resolution", 1),
)


class UpstreamLost(Unreachable):
    """A control plane does not take the stream, or the stream has ended."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The host's certificate, and how a control plane is recognised. All PEM."""

    key_pem: bytes
    chain_pem: bytes
    roots_pem: bytes
    target_name: str
    """The DNS name in its certificate, whatever address is dialled."""

    def __repr__(self) -> str:
        """Keep the key out of logs."""
        return f"Credentials(target_name={self.target_name!r})"


class UpstreamStream:
    """An open stream."""

    def __init__(self, address: str, stream_id: str, call: Any) -> None:
        """Wrap a call whose initial metadata has come."""
        self.address = address
        self.stream_id = stream_id
        self._call = call

    async def send(self, request: DeltaDiscoveryRequest) -> None:
        """Send one request. Raises UpstreamLost."""
        try:
            await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise await self._lost() from error

    async def receive(self) -> DeltaDiscoveryResponse:
        """Wait for the next response. Raises UpstreamLost when the stream ends."""
        try:
            response = await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise await self._lost() from error
        if response is grpc.aio.EOF:
            raise await self._lost()
        return response

    async def _lost(self) -> UpstreamLost:
        code, details = await self._call.code(), await self._call.details()
        return UpstreamLost(
            f"cannot follow control plane {self.address}: {code.name.lower()}: {details}; "
            "trying the next"
        )


def channel_to(address: str, credentials: Credentials) -> grpc.aio.Channel:
    """Give a channel of its own to a control plane; it connects when a call is made."""
    channel_credentials = grpc.ssl_channel_credentials(
        credentials.roots_pem, credentials.key_pem, credentials.chain_pem
    )
    options = [*_OPTIONS, ("grpc.ssl_target_name_override", credentials.target_name)]
    return grpc.aio.secure_channel(address, channel_credentials, options=options)


@asynccontextmanager
async def connect(address: str, credentials: Credentials) -> AsyncIterator[UpstreamStream]:
    """Open a stream; it ends when left. Raises UpstreamLost within CONNECT_SECONDS."""
    async with channel_to(address, credentials) as channel:
        method = channel.stream_stream(
            DELTA_ADS,
            request_serializer=DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=DeltaDiscoveryResponse.FromString,
        )
        call = method()
        try:
            yield UpstreamStream(address, await _taken(address, call), call)
        finally:
            call.cancel()


async def _taken(address: str, call: Any) -> str:
    """Wait until the control plane takes the stream; give what it calls it."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            metadata = await call.initial_metadata()
            if call.done():
                # Refused before it began: gRPC gives empty metadata then, not an error.
                reason = f"{(await call.code()).name.lower()}: {await call.details()}"
                raise UpstreamLost(f"cannot connect to control plane {address}: {reason}")
    except TimeoutError as error:
        raise UpstreamLost(
            f"cannot connect to control plane {address}: no answer in {CONNECT_SECONDS:.0f} s"
        ) from error
    except grpc.aio.AioRpcError as error:
        raise UpstreamLost(
            f"cannot connect to control plane {address}: {error.details()}"
        ) from error
    return str(dict(metadata or ()).get(STREAM_ID_METADATA, ""))
