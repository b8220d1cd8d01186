import asyncio

import pytest

from hostmesh_ctl.demo.http_client import Answer, BrokenAnswer, Connection, head_of


def _exchange(raw: bytes) -> tuple[Answer, bytes]:
    """Send one request to a server that answers `raw` and closes; give what each side got."""
    got = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(raw)
        await writer.drain()
        writer.close()

    async def main() -> Answer:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            connection = await Connection.open(1, "127.0.0.1", port)
            try:
                return await connection.exchange(head_of("GET", "/x", "h:1", {"a": "b"}), b"")
            finally:
                connection.close()

    return asyncio.run(main()), bytes(got)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi", id="with a length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n",
            b"hi",
            id="in chunks",
        ),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nhi", b"hi", id="until the end"),
    ],
)
def test_each_kind_of_body_is_read_whole(raw: bytes, body: bytes) -> None:
    answer, request = _exchange(raw)
    assert (answer.status, answer.body) == (200, body)
    assert request == b"GET /x HTTP/1.1\r\nhost: h:1\r\na: b\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        pytest.param(b"", "ended inside the answer", id="nothing at all"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncont", "ended inside", id="half a header"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", "ended", id="half a body"),
        pytest.param(b"220 hello\r\n\r\n", "no HTTP", id="another protocol"),
    ],
)
def test_half_an_answer_is_none(raw: bytes, words: str) -> None:
    with pytest.raises(BrokenAnswer, match=words):
        _exchange(raw)


@pytest.mark.parametrize(
    ("value", "keeps"), [("close", False), ("Close", False), ("keep-alive", True), ("", True)]
)
def test_the_server_may_ask_for_the_end(value: str, *, keeps: bool) -> None:
    assert Answer(200, {"connection": value}, b"").keeps is keeps


def test_a_connection_that_the_peer_closed_is_seen_as_ended() -> None:
    async def main() -> bool:
        async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(close, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            connection = await Connection.open(1, "127.0.0.1", port)
            for _ in range(100):
                await asyncio.sleep(0.01)
                if connection.ended:
                    break
            ended = connection.ended
            connection.close()
            return ended

    assert asyncio.run(main())
