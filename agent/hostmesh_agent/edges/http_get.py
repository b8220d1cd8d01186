"""One HTTP/1.1 request over an open connection, bounded in size; enough for Envoy on this host.

The agent carries no HTTP library: its two servers are Envoy's admin and Envoy's readiness listener.
"""

import asyncio
from dataclasses import dataclass

MAX_HEAD_BYTES = 32 * 1024


class BadAnswer(Exception):
    """What came back is no HTTP answer, or larger than allowed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Ask:
    """What to send."""

    path: str
    method: str = "GET"
    host: str = "localhost"


async def fetch(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: Ask, *, max_bytes: int
) -> Answer:
    """Send the request and read its answer. Raises BadAnswer and OSError; the caller times out."""
    length = "Content-Length: 0\r\n" if ask.method != "GET" else ""
    head = f"{ask.method} {ask.path} HTTP/1.1\r\nHost: {ask.host}\r\nConnection: close\r\n{length}"
    writer.write(head.encode("ascii") + b"\r\n")
    await writer.drain()
    try:
        status, headers = _head(await reader.readuntil(b"\r\n\r\n"))
        return Answer(status, headers, await _body(reader, headers, max_bytes))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise BadAnswer(str(error)) from error


def _head(data: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = data.decode("latin-1").rstrip("\r\n").split("\r\n")
    protocol, status, *_ = first.split(" ")
    if not protocol.startswith("HTTP/1."):
        raise BadAnswer(f"no HTTP/1 answer: {first[:80]!r}")
    pairs = (line.partition(":") for line in lines)
    return int(status), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: dict[str, str], limit: int) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        return await _chunks(reader, limit)
    if "content-length" in headers:
        length = int(headers["content-length"])
        _check(length, limit)
        return await reader.readexactly(length)
    return await _rest(reader, limit)


async def _chunks(reader: asyncio.StreamReader, limit: int) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        _check(len(body) + size, limit)
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    return bytes(body)


async def _rest(reader: asyncio.StreamReader, limit: int) -> bytes:
    body = bytearray()
    while data := await reader.read(65536):
        body += data
        _check(len(body), limit)
    return bytes(body)


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise BadAnswer(f"the answer is larger than {limit} bytes")
