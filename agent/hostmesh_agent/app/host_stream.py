"""One stream of the host session, from Welcome to its end: the loops that move envelopes."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import NoReturn

from hostmesh_agent.edges.host_client import HostStream, HostStreamLost
from hostmesh_core._pb import host_pb2 as pb

Received = Callable[["Stream", pb.Down], None]


class Stream:
    """A welcomed stream with what waits to be sent on it."""

    def __init__(self, stream: HostStream) -> None:
        self._stream = stream
        self._waiting: deque[pb.Up] = deque()
        self._wake = asyncio.Event()
        self._replaced = asyncio.Event()
        self.address = stream.address

    def send(self, envelope: pb.Up) -> None:
        """Queue an envelope; the session bounds how many there can be."""
        self._waiting.append(envelope)
        self._wake.set()

    def replaced(self) -> None:
        """End it: a newer stream is up."""
        self._replaced.set()

    async def run(self, received: Received, *beside: Coroutine[object, object, NoReturn]) -> None:
        """Move envelopes until a newer stream is up. Raises HostStreamLost when it ends before.

        `beside` are the loops that live as long as the stream.
        """
        ended: HostStreamLost | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                loops = (self._write(), self._read(received), *beside)
                working = [tasks.create_task(loop) for loop in loops]
                await self._replaced.wait()
                for task in working:
                    task.cancel()
        except* HostStreamLost as group:
            ended = next(e for e in group.exceptions if isinstance(e, HostStreamLost))
        if ended is not None:
            # Not within except*: Python before 3.11.4 would wrap it in a group of its own.
            raise ended

    async def _write(self) -> NoReturn:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._stream.send(self._waiting.popleft())

    async def _read(self, received: Received) -> NoReturn:
        while True:
            received(self, await self._stream.receive())
