import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from hostmesh_agent.edges import app_probe
from hostmesh_agent.edges.app_probe import Call, Spoken
from hostmesh_testing import forge

pytestmark = pytest.mark.process

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
HTTP = app_probe.http_request("/", "web")


async def greets(_: Reader, writer: Writer) -> None:
    writer.write(b"220 mail ESMTP\r\n")


async def answers(reader: Reader, writer: Writer) -> None:
    line = await reader.readline()
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" if line.startswith(b"GET /") else b"what?\r\n")


async def is_silent(reader: Reader, _: Writer) -> None:
    await reader.read()


async def closes(_: Reader, writer: Writer) -> None:
    writer.transport.abort()


def _heard(
    app: Callable[[Reader, Writer], Awaitable[None]],
    request: bytes = HTTP,
    context: ssl.SSLContext | None = None,
) -> Spoken:
    async def scene() -> Spoken:
        async def served(reader: Reader, writer: Writer) -> None:
            try:
                await app(reader, writer)
                await writer.drain()
            except ConnectionError:
                return
            finally:
                writer.close()

        server = await asyncio.start_server(served, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        try:
            return await app_probe.listen_to(Call("127.0.0.1", port, request))
        finally:
            server.close()

    return asyncio.run(scene())


def test_one_that_speaks_first() -> None:
    assert _heard(greets) == Spoken(first=b"220 mail ESMTP\r\n")


def test_one_that_answers_http() -> None:
    assert _heard(answers).answer.startswith(b"HTTP/1.1 200")


def test_one_that_answers_something_else() -> None:
    assert _heard(answers, request=app_probe.http2_request()).answer == b"what?\r\n"


@pytest.mark.parametrize("app", [is_silent, closes])
def test_one_that_says_nothing_proves_nothing(
    app: Callable[[Reader, Writer], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostmesh_agent.edges.app_probe.ANSWER_SECONDS", 0.2)
    assert _heard(app) == Spoken()


def test_one_that_speaks_tls(tmp_path: Path) -> None:
    made = forge.certificate(dns=["localhost"], name="web")
    file = tmp_path / "both.pem"
    file.write_bytes(forge.key_pem(forge.key("web")) + made.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    assert _heard(answers, context=context) == Spoken(tls=True)


def test_where_nobody_listens() -> None:
    assert asyncio.run(app_probe.listen_to(Call("127.0.0.1", 1, HTTP))) == Spoken()
