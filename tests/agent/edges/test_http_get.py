import asyncio

import pytest

from hostmesh_agent.edges import http_get
from hostmesh_agent.edges.http_get import Answer, Ask, BadAnswer

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def ask(answer: bytes, *, max_bytes: int = 100, asked: list[bytes] | None = None) -> Answer:
    """Fetch from a server that answers these bytes and closes."""

    async def run() -> Answer:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if asked is not None:
                asked.append(head)
            writer.write(answer)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                return await http_get.fetch(reader, writer, Ask("/x", "POST"), max_bytes=max_bytes)
            finally:
                writer.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", id="by its length"),
        pytest.param(
            CHUNKED + b"2\r\nhi\r\n1;x\r\n!\r\n0\r\n\r\n",
            b"hi!",
            id="in chunks",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nhi", b"hi", id="until the end"),
        pytest.param(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"", id="nothing, no reason"),
    ],
)
def test_reads_a_body(answer: bytes, body: bytes) -> None:
    assert ask(answer).body == body


def test_sends_one_request_and_gives_status_and_headers() -> None:
    asked: list[bytes] = []
    answer = ask(b"HTTP/1.1 503 No\r\nX-Epoch:  1 \r\nContent-Length: 0\r\n\r\n", asked=asked)
    assert (answer.status, answer.headers["x-epoch"]) == (503, "1")
    assert asked == [
        b"POST /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    ]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", id="half a head"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 abc OK\r\n\r\n", id="no status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", id="half a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", id="a body too large"),
        pytest.param(
            CHUNKED + b"ffffff\r\n",
            id="a chunk too large",
        ),
        pytest.param(CHUNKED + b"zz\r\n", id="no chunk size"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101, id="an endless body"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000, id="an endless head"),
    ],
)
def test_refuses_what_is_no_answer(answer: bytes) -> None:
    with pytest.raises(BadAnswer):
        ask(answer)
