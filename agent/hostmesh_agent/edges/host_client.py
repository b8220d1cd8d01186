"""The host stream's client side (DESIGN 7): one stream to one control plane, over mutual TLS."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from hostmesh_agent.edges.xds_upstream import Credentials, channel_to
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import Unreachable
from hostmesh_core.rpc import HOST_CONNECT

CONNECT_SECONDS = 4.0
"""From the first packet to Welcome. A starved control plane answers late, and each new try costs it
another handshake; two dead ones in a row must still leave time to renew a lease at the third."""

_NEVER = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT)


class HostStreamLost(Unreachable):
    """A control plane does not take the stream, or the stream has ended.

    `refused`: it answered and said no, so trying again soon changes nothing.
    """

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


class HostStream:
    """An open stream that has been welcomed."""

    def __init__(self, address: str, call: Any, welcome: pb.Down) -> None:
        self.address = address
        self.welcome = welcome
        """The first envelope; its body is Welcome."""
        self._call = call

    async def send(self, envelope: pb.Up) -> None:
        """Send one envelope. Raises HostStreamLost."""
        try:
            await self._call.write(envelope)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise await _lost(self.address, self._call) from error

    async def receive(self) -> pb.Down:
        """Wait for the next envelope. Raises HostStreamLost when the stream ends."""
        return await _read(self.address, self._call)


@asynccontextmanager
async def connect(
    address: str, credentials: Credentials, hello: Callable[[], pb.Hello]
) -> AsyncIterator[HostStream]:
    """Open a stream; it ends when left. Raises HostStreamLost within CONNECT_SECONDS.

    `hello` is asked for when it is sent, so that it counts what was seen until then.
    """
    async with channel_to(address, credentials) as channel:
        method = channel.stream_stream(
            HOST_CONNECT,
            request_serializer=pb.Up.SerializeToString,
            response_deserializer=pb.Down.FromString,
        )
        call = method()
        try:
            yield HostStream(address, call, await _welcomed(address, call, hello))
        finally:
            call.cancel()


async def addresses_of(address: str, *, ipv6: bool) -> tuple[str, ...]:
    """Give the `ip:port` forms of a control plane's address in one family; none = it has none."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    try:
        if ipaddress.ip_address(host).version != (6 if ipv6 else 4):
            return ()
    except ValueError:
        pass  # a name: ask for its addresses
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, int(port), family=family, type=socket.SOCK_STREAM
        )
    except OSError:
        return ()
    ips = dict.fromkeys(str(entry[4][0]) for entry in found)
    return tuple(f"[{ip}]:{port}" if ipv6 else f"{ip}:{port}" for ip in ips)


async def _welcomed(address: str, call: Any, hello: Callable[[], pb.Hello]) -> pb.Down:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await call.wait_for_connection()
            await call.write(pb.Up(hello=hello()))
            first = await _read(address, call)
    except TimeoutError as error:
        raise HostStreamLost(
            f"cannot connect to control plane {address}: no answer in {CONNECT_SECONDS:.0f} s"
        ) from error
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
        raise await _lost(address, call) from error
    if first.WhichOneof("body") != "welcome":
        raise HostStreamLost(f"cannot use control plane {address}: it does not begin with Welcome")
    return first


async def _read(address: str, call: Any) -> pb.Down:
    try:
        envelope = await call.read()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
        raise await _lost(address, call) from error
    if isinstance(envelope, pb.Down):
        return envelope
    raise await _lost(address, call)  # the end of the stream


async def _lost(address: str, call: Any) -> HostStreamLost:
    code, details = await call.code(), await call.details()
    text = f"cannot stay with control plane {address}: {details or code.name.lower()}"
    return HostStreamLost(text, refused=code in _NEVER)
