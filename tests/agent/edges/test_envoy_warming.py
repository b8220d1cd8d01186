import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hostmesh_agent.edges import envoy_warming
from hostmesh_agent.edges.envoy_warming import warming_clusters

OK = b"HTTP/1.1 200 OK\r\n"
TWO = b'{"configs": [{"cluster": {"name": "a"}}, {"cluster": {"name": "b"}}]}'


@asynccontextmanager
async def admin(path: Path, answer: bytes | None) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(b"GET /config_dump?resource=dynamic_warming_clusters HTTP/1.1\r\n")
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()
        await writer.wait_closed()
        answered.set()

    answered = asyncio.Event()
    socket = str(path / "admin.sock")
    server = await asyncio.start_unix_server(serve, socket)
    try:
        yield socket
        await answered.wait()
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        pytest.param(OK + b"\r\n" + TWO, {"a", "b"}, id="an answer that ends with the connection"),
        pytest.param(
            OK + b"transfer-encoding: chunked\r\n\r\n"
            b"5\r\n" + TWO[:5] + b"\r\n%x\r\n" % len(TWO[5:]) + TWO[5:] + b"\r\n0\r\n\r\n",
            {"a", "b"},
            id="an answer in chunks",
        ),
        pytest.param(OK + b"\r\n{}", set(), id="none is warming"),
        pytest.param(b"HTTP/1.1 404 Not Found\r\n\r\n", None, id="not an answer to this"),
        pytest.param(OK + b"\r\n{", None, id="half an answer"),
        pytest.param(b"HTTP/1.1 200", None, id="half a head"),
        pytest.param(None, None, id="silence"),
    ],
)
def test_answers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes | None,
    names: set[str] | None,
) -> None:
    monkeypatch.setattr(envoy_warming, "ANSWER_SECONDS", 0.2)

    async def main() -> frozenset[str] | None:
        async with admin(tmp_path, answer) as socket:
            return await warming_clusters(socket)

    assert asyncio.run(main()) == names


def test_no_admin_at_all(tmp_path: Path) -> None:
    assert asyncio.run(warming_clusters(str(tmp_path / "admin.sock"))) is None
