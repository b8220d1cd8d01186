"""Long streams whose bytes are known without being kept, and TCP exchanges played for both ends."""

import contextlib
import ssl
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from hostmesh_testing.wires import RawApp, Script, Wire

BLOCK = bytes(range(256)) * 4096
MIB = len(BLOCK)


def pour(wire: Wire, size: int) -> None:
    """Send so many bytes (whole MiB) of a known pattern."""
    wire.socket.settimeout(60)
    for _ in range(size // MIB):
        wire.socket.sendall(BLOCK)


def drain(wire: Wire, size: int, begun: bytes = b"") -> int:
    """Read so many bytes, `begun` among them; give their checksum."""
    wire.socket.settimeout(60)
    found, left = zlib.crc32(begun), size - len(begun)
    while left and (data := wire.socket.recv(min(left, MIB))):
        found, left = zlib.crc32(data, found), left - len(data)
    return found if not left else -1


def checksum(size: int) -> int:
    """Give the checksum of what `pour` sends."""
    found = 0
    for _ in range(size // MIB):
        found = zlib.crc32(BLOCK, found)
    return found


def client_hello() -> bytes:
    """Give what a TLS client says first that knows nothing of a mesh."""
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="db.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


@dataclass(frozen=True, slots=True)
class Both:
    """What both ends of a TCP connection got, and how it ended for each."""

    app: bytes
    app_end: str
    client: bytes
    client_end: str


@dataclass(frozen=True, slots=True)
class Passage:
    """What a client and an app do on a TCP connection; each reads until the other ends it."""

    name: str
    client: Script
    app: Script


def pass_through(passage: Passage, app: RawApp, dial: Callable[[], Wire]) -> Both:
    """Make one passage."""
    app.plays(passage.app)
    wire = dial()
    passage.client(wire)
    (served,) = app.ended(1)
    wire.close()
    return Both(served.got, served.end, wire.got, wire.end)
