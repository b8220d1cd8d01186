"""Keeps one upstream stream open with one set of credentials, whichever control plane takes it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, Protocol

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_agent.edges import xds_upstream
from hostmesh_agent.edges.clock import SystemClock
from hostmesh_agent.edges.xds_upstream import Credentials, UpstreamLost, UpstreamStream
from hostmesh_agent.logic.relay_failover import Failover


class Listener(Protocol):
    """Who is told of a follower. Called on the event loop."""

    def opened(self, follower: "Follower") -> None:
        """A control plane has taken the stream, `follower.stream`."""

    def received(self, follower: "Follower", response: DeltaDiscoveryResponse) -> None:
        """A response has come on it."""

    def lost(self, follower: "Follower", reason: str) -> None:
        """It has ended, or was not taken."""


class Follower:
    """Goes from control plane to control plane until cancelled."""

    def __init__(
        self,
        control_planes: Sequence[str],
        credentials: Credentials,
        *,
        clock: SystemClock,
        jitter: Callable[[], float],
        listener: Listener,
    ) -> None:
        """Take what it needs; `jitter` gives numbers in 0..1."""
        self.stream: UpstreamStream | None = None
        self.credentials = credentials
        self._clock = clock
        self._jitter = jitter
        self._listener = listener
        start = int(jitter() * len(control_planes))
        self._failover = Failover(control_planes, start=start)
        self._outgoing: asyncio.Queue[DeltaDiscoveryRequest] = asyncio.Queue()

    def send(self, requests: Iterable[DeltaDiscoveryRequest]) -> None:
        """Queue requests for the open stream."""
        for request in requests:
            self._outgoing.put_nowait(request)

    async def run(self) -> NoReturn:
        """Connect, follow, go on to the next."""
        while True:
            reason = await self._once()
            self.stream = None
            self._listener.lost(self, reason)
            await self._clock.sleep(self._failover.failed(self._jitter()))

    async def _once(self) -> str:
        """Follow one control plane to the end of its stream; give the reason."""
        try:
            async with xds_upstream.connect(self._failover.address, self.credentials) as stream:
                self._outgoing = asyncio.Queue()
                self.stream = stream
                self._listener.opened(self)
                await self._move(stream)
        except UpstreamLost as error:
            return str(error)
        return ""  # not reached: `_move` ends by an error

    async def _move(self, stream: UpstreamStream) -> None:
        """Read and write until either fails, then raise its UpstreamLost.

        Not a TaskGroup: one that is cancelled just when a child fails forgets the cancellation
        (Python 3.11), and `run` would go on to the next control plane for ever.
        """
        both = {asyncio.ensure_future(loop(stream)) for loop in (self._read, self._write)}
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        await done.pop()

    async def _read(self, stream: UpstreamStream) -> NoReturn:
        while True:
            response = await stream.receive()
            # Only now: one that takes streams and ends them at once must not be asked at once.
            self._failover.connected()
            self._listener.received(self, response)

    async def _write(self, stream: UpstreamStream) -> NoReturn:
        while True:
            await stream.send(await self._outgoing.get())
