"""A TCP forwarder that can fall silent like a stopped process, or break like a killed one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Middleman:
    """Forwards loopback connections to a port until told otherwise."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Middleman"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])
        try:
            yield self
        finally:
            server.close()
            self.reset()

    def freeze(self) -> None:
        """Pass nothing on any more; connections stay open and are still accepted."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Go on, with what has waited."""
        self._flowing.set()

    def reset(self) -> None:
        """Break every connection with RST."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.append(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except OSError:
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        writer.close()
