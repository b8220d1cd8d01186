import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from hostmesh_agent.edges.probes import Check, CheckFailed, ask

pytestmark = pytest.mark.process

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def app(handler: Handler, address: str = "127.0.0.1") -> AsyncIterator[tuple[int, list[str]]]:
    """Serve; gives the port and the source addresses seen."""
    sources: list[str] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sources.append(writer.get_extra_info("peername")[0])
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, address, 0)
    try:
        yield server.sockets[0].getsockname()[1], sources
    finally:
        server.close()


def answering(text: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()

    return handler


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def closing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def check(port: int, *, path: str = "", address: str = "127.0.0.1") -> Check:
    source = "::6" if ":" in address else "127.0.0.6"
    return Check(address, port, source, 0.5, path, "web")


def result(handler: Handler, path: str = "") -> tuple[str, list[str]]:
    """Give the failure (empty = well) and the sources that the app saw."""

    async def play() -> tuple[str, list[str]]:
        async with app(handler) as (port, sources):
            try:
                await ask(check(port, path=path))
            except CheckFailed as error:
                return str(error), sources
            await asyncio.sleep(0.01)
            return "", sources

    return asyncio.run(play())


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", "", id="200"),
        pytest.param(b"HTTP/1.0 204 No Content\r\n\r\n", "", id="204 by HTTP/1.0"),
        pytest.param(b"HTTP/1.1 301 Moved\r\n\r\n", "", id="a redirect"),
        pytest.param(
            b"HTTP/1.1 404 Not Found\r\n\r\n", "GET /health answered 404 Not Found", id="404"
        ),
        pytest.param(b"HTTP/1.1 503\r\n\r\n", "GET /health answered 503", id="503 without words"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", "its answer is not HTTP", id="no HTTP"),
        pytest.param(b"HTTP/1.1 abc\r\n\r\n", "its answer is not HTTP", id="no status"),
        pytest.param(b"HTTP", "it closed the connection before it answered", id="half an answer"),
        pytest.param(b"x" * 40_000, "it closed the connection before it answered", id="no line"),
    ],
)
def test_an_http_check_reads_the_status(answer: bytes, failure: str) -> None:
    assert result(answering(answer), "/health") == (failure, ["127.0.0.6"])


def test_an_app_that_hangs_is_not_well() -> None:
    failure, _ = result(silent, "/health")
    assert failure == "no answer within 0.5 s"


def test_an_app_that_hangs_up_is_not_well() -> None:
    failure, _ = result(closing, "/health")
    assert failure in ("it closed the connection before it answered", "connection reset")


def test_a_tcp_check_needs_a_connection_and_comes_from_the_uncaptured_source() -> None:
    assert result(silent) == ("", ["127.0.0.6"])


def test_a_closed_port_is_not_well() -> None:
    async def play() -> None:
        async with app(silent) as (port, _):
            pass
        with pytest.raises(CheckFailed, match="connection refused"):
            await ask(check(port))

    asyncio.run(play())


def test_an_address_that_loopback_cannot_reach_is_not_well_and_says_so() -> None:
    async def play() -> None:
        with pytest.raises(CheckFailed) as failure:
            await ask(check(80, address="203.0.113.9"))
        assert "invalid argument" in str(failure.value)

    asyncio.run(play())


def test_ipv6_is_asked_too_whether_or_not_the_rules_own_source_is_there() -> None:
    async def play() -> list[str]:
        async with app(silent, "::1") as (port, sources):
            await ask(check(port, address="::1"))
            await asyncio.sleep(0.01)
            return sources

    assert asyncio.run(play()) in (["::1"], ["::6"])
