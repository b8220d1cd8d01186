"""Calls an app on this host as a stranger would, to hear what it speaks. Short, and harmless to it.

A moment of silence first, then a TLS ClientHello, then a request in the declared protocol, each on
a connection of its own. The source is 127.0.0.6 (::6), as Envoy's own is, so that rules which are
in already lead none of it into Envoy.
"""

import asyncio
import errno
import ssl
from dataclasses import dataclass

CONNECT_SECONDS = 1.0
SILENCE_SECONDS = 0.4
"""How long a server that speaks first may take: databases and mail servers need milliseconds."""
ANSWER_SECONDS = 1.5
_LIMIT = 64
_SOURCES = {4: "127.0.0.6", 6: "::6"}
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
"""The preface and an empty SETTINGS frame."""


@dataclass(frozen=True, slots=True)
class Call:
    """Whom to call, and with which request; empty = with none."""

    address: str
    port: int
    request: bytes = b""
    try_tls: bool = True


@dataclass(frozen=True, slots=True)
class Spoken:
    """What came back."""

    first: bytes = b""
    tls: bool = False
    answer: bytes = b""


def http_request(path: str, host: str) -> bytes:
    """Give a request of HTTP/1.1, the one that the proof sends too."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hostmesh-check\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ).encode()


def http2_request() -> bytes:
    """Give what a client of HTTP/2 without TLS begins with."""
    return _HTTP2


async def listen_to(call: Call) -> Spoken:
    """Hear what an app speaks; what does not answer is silent."""
    first = await _exchange(call, b"", SILENCE_SECONDS)
    if first:
        return Spoken(first=first)
    if call.try_tls and _is_tls(await _exchange(call, _client_hello(), ANSWER_SECONDS)):
        return Spoken(tls=True)
    if not call.request:
        return Spoken()
    return Spoken(answer=await _exchange(call, call.request, ANSWER_SECONDS))


def _is_tls(answer: bytes) -> bool:
    """Tell a handshake record or an alert: a server that refuses our hello speaks TLS too."""
    return len(answer) >= 3 and answer[0] in (0x15, 0x16) and answer[1] == 3


def _client_hello() -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent, and nothing believed
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise RuntimeError("a TLS handshake that ends without a server")


async def _exchange(call: Call, request: bytes, seconds: float) -> bytes:
    """Send and give the first bytes of the answer; empty where none came."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await _connect(call)
    except (TimeoutError, OSError):
        return b""
    try:
        writer.write(request)
        async with asyncio.timeout(seconds):
            return await reader.read(_LIMIT)
    except (TimeoutError, OSError):
        return b""
    finally:
        writer.transport.abort()


async def _connect(call: Call) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    source = _SOURCES[6 if ":" in call.address else 4]
    try:
        return await asyncio.open_connection(call.address, call.port, local_addr=(source, 0))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
    return await asyncio.open_connection(call.address, call.port)
