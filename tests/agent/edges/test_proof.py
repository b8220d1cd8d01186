import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hostmesh_agent.edges import proof
from hostmesh_core import names
from hostmesh_core.ids import SpiffeId
from hostmesh_testing import certificates

WEB = SpiffeId.parse("spiffe://mesh.internal/ns/default/sa/web")
OTHER = SpiffeId.parse("spiffe://mesh.internal/ns/default/sa/other")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
AUTHORITY = certificates.authority()


def _credentials(spiffe_id: SpiffeId) -> proof.ProofCredentials:
    leaf = AUTHORITY.leaf(uris=(str(spiffe_id),))
    return proof.ProofCredentials(leaf.chain_pem, leaf.key_pem, AUTHORITY.root_pem)


def _server_context(folder: Path, credentials: proof.ProofCredentials) -> ssl.SSLContext:
    (folder / "pair.pem").write_bytes(credentials.key_pem + credentials.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    context.load_verify_locations(cadata=credentials.roots_pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, more: str) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{more}\r\n".encode())
    await writer.drain()


async def _app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _http(reader, writer, "")


async def _no_app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _http(reader, writer, f"{names.UNDELIVERED_HEADER}: 1\r\n")


async def _waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read()


async def _closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    writer.close()


async def _prove(folder: Path, serve: Serve, *, is_http: bool, expected: SpiffeId) -> str:
    credentials = _credentials(WEB)
    context = _server_context(folder, credentials)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    target = proof.Target("127.0.0.1", port, is_http, "/", "web.default.mesh.internal", expected)
    try:
        return (await proof.prove(target, credentials, within=3))[0]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("serve", "is_http", "answer"),
    [
        pytest.param(_app, True, "200 OK", id="an HTTP app answers"),
        pytest.param(_waits, False, "connected", id="a TCP app waits for its client"),
    ],
)
def test_proven(tmp_path: Path, serve: Serve, is_http: bool, answer: str) -> None:  # noqa: FBT001
    assert asyncio.run(_prove(tmp_path, serve, is_http=is_http, expected=WEB)) == answer


@pytest.mark.parametrize(
    ("serve", "is_http", "expected", "said"),
    [
        pytest.param(_no_app, True, WEB, "nothing listens behind", id="Envoy without its HTTP app"),
        pytest.param(_closes, False, WEB, "nothing listens behind", id="Envoy without its TCP app"),
        pytest.param(_app, True, OTHER, "answered instead of", id="another identity answers"),
    ],
)
def test_not_proven(
    tmp_path: Path,
    serve: Serve,
    is_http: bool,  # noqa: FBT001
    expected: SpiffeId,
    said: str,
) -> None:
    with pytest.raises(proof.NotProven, match=said):
        asyncio.run(_prove(tmp_path, serve, is_http=is_http, expected=expected))


def test_a_plain_app_is_not_envoy() -> None:
    credentials = _credentials(WEB)

    async def run() -> None:
        async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        target = proof.Target("127.0.0.1", port, True, "/", "web", WEB)  # noqa: FBT003
        try:
            await proof.prove(target, credentials, within=3)
        finally:
            server.close()

    with pytest.raises(proof.NotProven, match="did not pass through Envoy"):
        asyncio.run(run())


async def _held_port_with_a_free_one_above() -> tuple[asyncio.Server, int]:
    while True:
        held = await asyncio.start_server(_waits, "127.0.0.1", 0)
        port = int(held.sockets[0].getsockname()[1])
        with contextlib.suppress(OSError), socket.socket() as above:
            above.bind(("127.0.0.1", port + 1))
            return held, port
        held.close()


async def _source_ports_into(
    seen: list[int], context: ssl.SSLContext
) -> tuple[asyncio.Server, int]:
    """Serve an app that notes where its callers come from; give it and its port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername")[1])
        await _app(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    return server, server.sockets[0].getsockname()[1]


def test_it_comes_from_a_port_that_the_rules_let_through(tmp_path: Path) -> None:
    credentials = _credentials(WEB)
    context = _server_context(tmp_path, credentials)
    seen: list[int] = []
    wanted: list[int] = []

    async def run() -> None:
        held, low = await _held_port_with_a_free_one_above()
        wanted.append(low + 1)
        server, port = await _source_ports_into(seen, context)
        target = proof.Target("127.0.0.1", port, True, "/", "web", WEB, (low, low + 1))  # noqa: FBT003
        try:
            await proof.prove(target, credentials, within=3)
        finally:
            server.close()
            held.close()

    asyncio.run(run())
    assert seen == wanted


def test_ten_proofs_come_from_ten_ports(tmp_path: Path) -> None:
    """The kernel would give the second of two from one port another source port: a caller's."""
    low = 10_000 + os.getpid() * 10 % 20_000  # none that an earlier run may hold
    ports = (low, low + 9)
    credentials = _credentials(WEB)
    context = _server_context(tmp_path, credentials)
    seen: list[int] = []

    async def run() -> None:
        server, port = await _source_ports_into(seen, context)
        target = proof.Target("127.0.0.1", port, True, "/", "web", WEB, ports)  # noqa: FBT003
        for _ in range(10):
            await proof.prove(target, credentials, within=3)
        server.close()

    asyncio.run(run())
    assert sorted(seen) == list(range(ports[0], ports[1] + 1))
