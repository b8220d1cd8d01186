"""A bare HTTP/1.1 client connection for the load client: nothing is retried or hidden."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

LIMIT = 1 << 20
"""Bytes of one answer at most."""


class BrokenAnswer(Exception):
    """The connection ended before the answer did, or it is no HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def keeps(self) -> bool:
        """Tell whether the connection may be used again."""
        return "close" not in self.headers.get("connection", "").lower()


class Connection:
    """One TCP connection. `number` names it in the records."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, number: int, address: str, port: int) -> "Connection":
        """Connect. Raises OSError."""
        reader, writer = await asyncio.open_connection(address, port, limit=LIMIT)
        return cls(number, reader, writer)

    @property
    def ended(self) -> bool:
        """Tell whether the peer has closed it, as a client asks before it uses one again."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def exchange(self, head: str, body: bytes) -> Answer:
        """Send one request, read its answer. Raises OSError, BrokenAnswer."""
        self._writer.write(head.encode() + body)
        await self._writer.drain()
        return await self._answer()

    async def _answer(self) -> Answer:
        try:
            status = int((await self._line()).split()[1])
            headers = await self._headers()
            return Answer(status, headers, await self._body(headers))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise BrokenAnswer("the connection ended inside the answer") from error
        except (ValueError, IndexError) as error:
            raise BrokenAnswer(f"no HTTP: {error}") from error

    async def _line(self) -> str:
        return (await self._reader.readuntil(b"\r\n")).decode("latin-1").strip()

    async def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while line := await self._line():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return headers

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", ""):
            parts = []
            while size := int(await self._line(), 16):
                parts.append(await self._reader.readexactly(size))
                await self._line()
            await self._line()
            return b"".join(parts)
        if "content-length" in headers:
            return await self._reader.readexactly(int(headers["content-length"]))
        return await self._reader.read(LIMIT)

    def close(self) -> None:
        """Close at once."""
        self._writer.close()


def head_of(method: str, path: str, host: str, headers: Mapping[str, str]) -> str:
    """Give the head of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""])
