"""Asks an app on this host whether it is well: a TCP connection, or one HTTP request.

The source is bound to 127.0.0.6 (or ::6), as Envoy's own connections to apps are, so that the
kernel rules leave it alone: a check that Envoy answers is well while the app is dead (measured).
"""

import asyncio
import errno
from dataclasses import dataclass

HEAD_LIMIT = 16 * 1024


class CheckFailed(Exception):
    """The app is not well; the text says why, for tables and logs."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question. `path` empty = a TCP connection is enough."""

    address: str
    port: int
    source: str
    timeout_seconds: float
    path: str = ""
    host: str = ""
    """Host header."""


async def ask(check: Check) -> None:
    """Ask once. Raises CheckFailed."""
    try:
        async with asyncio.timeout(check.timeout_seconds):
            reader, writer = await _connect(check)
            try:
                if check.path:
                    await _http(reader, writer, check)
            finally:
                writer.transport.abort()
    except TimeoutError as error:
        raise CheckFailed(f"no answer within {check.timeout_seconds:g} s") from error
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
        raise CheckFailed(_words(error)) from error
    except OSError as error:
        raise CheckFailed(error.strerror.lower() if error.strerror else str(error)) from error


async def _connect(check: Check) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_connection(
            check.address, check.port, local_addr=(check.source, 0), limit=HEAD_LIMIT
        )
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
    # ::6 is on lo only while the rules are in. Without rules there is nothing to keep out of.
    return await asyncio.open_connection(check.address, check.port, limit=HEAD_LIMIT)


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, check: Check) -> None:
    writer.write(
        f"GET {check.path} HTTP/1.1\r\nHost: {check.host}\r\nUser-Agent: hostmesh-check\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n".encode()
    )
    await writer.drain()
    line = (await reader.readuntil(b"\n")).decode("latin-1")
    version, _, rest = line.partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/") or not (status.isascii() and status.isdigit()):
        raise CheckFailed("its answer is not HTTP")
    if not 200 <= int(status) < 400:
        raise CheckFailed(f"GET {check.path} answered {rest.strip()}")


def _words(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    return "it closed the connection before it answered"
