"""A bare HTTP/1.1 client connection without streams: one request at a time, nothing retried."""

import asyncio
import time
from collections.abc import Callable

from hostmesh_ctl.demo.http_client import Answer

Done = Callable[[Answer | None, str], None]
"""Gets the answer, or None and what happened instead."""
CUT_SHORT = "BrokenAnswer: the connection ended inside the answer"
NOT_SENT = "BrokenAnswer: the connection ended before a byte of the answer"


class Connection(asyncio.Protocol):
    """One TCP connection. `number` names it in the records."""

    transport: asyncio.Transport

    def __init__(self, number: int, address: str) -> None:
        self.number = number
        self.address = address
        self.ended = False
        self.deadline = 0.0
        self._got = b""
        self._done: Done | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def exchange(self, packet: bytes, done: Done, *, within: float) -> None:
        """Send one request; `done` is called once, at the latest by `expire`."""
        self._done = done
        self._got = b""
        self.deadline = time.monotonic() + within
        self.transport.write(packet)

    def expire(self) -> None:
        """Give up on the answer."""
        self._finish(None, "no answer in time")
        self.close()

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = self._got[:end].decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        try:
            status, length = int(first.split()[1]), int(headers["content-length"])
        except (ValueError, IndexError, KeyError):
            self._finish(None, f"BrokenAnswer: no HTTP with a length: {first[:60]}")
            self.close()
            return
        body = self._got[end + 4 :]
        if len(body) >= length:
            self._finish(Answer(status, headers, body[:length]), "")

    def eof_received(self) -> None:
        self.ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        words = CUT_SHORT if self._got else NOT_SENT
        self._finish(None, f"{type(exc).__name__}: {exc}" if exc else words)

    def _finish(self, answer: Answer | None, error: str) -> None:
        if self._done is not None:
            done, self._done = self._done, None
            done(answer, error)

    def close(self) -> None:
        """Close at once."""
        self.ended = True
        self.transport.close()
