"""The proof before a registration: one mutual-TLS request to the own inbound port (DESIGN 3).

It travels as a peer's would: through the kernel rules into Envoy, with this host's own workload
certificate on both sides, and counts only when the app behind Envoy has answered.
"""

import asyncio
import errno
import itertools
import os
import ssl
import time
from dataclasses import dataclass, field

from hostmesh_core import names
from hostmesh_core.errors import BadInput, Unreachable
from hostmesh_core.ids import SpiffeId
from hostmesh_core.x509 import load_der, spiffe_id_of

HEAD_LIMIT = 64 * 1024
_turns = itertools.count()
"""The source ports are taken in turn. Two proofs from one port soon after each other, to two ports
of Envoy's, would be one connection to the kernel once both are led to 15006: it gives the second
another source port, and Envoy counts it as a caller."""
HOLD_SECONDS = 0.15
"""A TCP connection whose app refuses is closed by Envoy well within this time on one host."""


class NotProven(Unreachable):
    """The request did not reach the app; the text says how far it came."""


@dataclass(frozen=True, slots=True)
class ProofCredentials:
    """This host's own workload certificate, key and roots (PEM). Its repr never shows the key."""

    chain_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    roots_pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be proven: `address:port` as peers dial it."""

    address: str
    port: int
    is_http: bool
    path: str
    """HTTP path to ask for."""
    host: str
    """Host header: the service's own name."""
    expected: SpiffeId
    source_ports: tuple[int, int] | None = None
    """Both included: only from these does the agent's own dial pass inbound through Envoy."""


async def _dial(
    target: Target, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect from one of the source ports; each may still be held by an earlier proof."""
    low, high = target.source_ports or (0, 0)
    begin = next(_turns) % (high - low + 1)
    ports = [*range(low + begin, high + 1), *range(low, low + begin)]
    for port in ports:
        try:
            return await asyncio.open_connection(
                target.address,
                target.port,
                ssl=context,
                server_hostname=names.PROOF_SERVER_NAME,
                limit=HEAD_LIMIT,
                local_addr=(target.address, port) if port else None,
            )
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL) or port == ports[-1]:
                raise
    raise RuntimeError("no source port was tried")


def _context(credentials: ProofCredentials, *, is_http: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # A workload's name is its SPIFFE id, compared below; it has no DNS name to check.
    context.check_hostname = False
    context.load_verify_locations(cadata=credentials.roots_pem.decode())
    # OpenSSL reads keys from files alone, so it gets one that is only in memory.
    descriptor = os.memfd_create("proof", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(credentials.key_pem + credentials.chain_pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    context.set_alpn_protocols(["istio-http/1.1", "http/1.1"] if is_http else ["istio"])
    return context


def _check_peer(writer: asyncio.StreamWriter, expected: SpiffeId) -> None:
    tls = writer.get_extra_info("ssl_object")
    try:
        seen = spiffe_id_of(load_der(tls.getpeercert(binary_form=True)))
    except BadInput as error:
        raise NotProven(f"cannot prove the inbound port: {error}") from error
    if seen != expected:
        raise NotProven(f"cannot prove the inbound port: {seen} answered instead of {expected}")


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target) -> str:
    writer.write(
        f"GET {target.path} HTTP/1.1\r\nHost: {target.host}\r\nUser-Agent: hostmesh-proof\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    if any(field.lower().startswith(names.UNDELIVERED_HEADER) for field in fields):
        raise NotProven(
            f"cannot prove {target.host}: Envoy answers, but nothing listens behind it on port "
            f"{target.port}"
        )
    return status.split(" ", 1)[-1]


async def _tcp(reader: asyncio.StreamReader, target: Target) -> str:
    try:
        async with asyncio.timeout(HOLD_SECONDS):
            first = await reader.read(1)
    except TimeoutError:
        return "connected"  # the app waits for its client to speak
    if not first:
        raise NotProven(
            f"cannot prove {target.host}: Envoy answers, but nothing listens behind it on port "
            f"{target.port}"
        )
    return "connected, the app spoke first"


async def prove(
    target: Target, credentials: ProofCredentials, *, within: float
) -> tuple[str, float]:
    """Send the proof, in at most `within` s; give the answer and the seconds. Raises NotProven."""
    began = time.monotonic()
    where = f"{target.address} port {target.port}"
    try:
        async with asyncio.timeout(within):
            reader, writer = await _dial(target, _context(credentials, is_http=target.is_http))
            try:
                _check_peer(writer, target.expected)
                detail = await (
                    _http(reader, writer, target) if target.is_http else _tcp(reader, target)
                )
            finally:
                writer.transport.abort()
    except TimeoutError as error:
        raise NotProven(f"cannot prove {where}: no answer within {within:.0f} s") from error
    except ssl.SSLError as error:
        raise NotProven(
            f"cannot prove {where}: it does not speak mutual TLS ({error.reason}): the connection "
            "did not pass through Envoy, or Envoy has no certificate yet"
        ) from error
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise NotProven(f"cannot prove {where}: {error}") from error
    return detail, time.monotonic() - began
