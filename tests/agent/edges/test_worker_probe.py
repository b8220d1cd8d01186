import asyncio

import pytest

from hostmesh_agent.edges import worker_probe
from hostmesh_agent.edges.worker_probe import Probed


def probe(answer: bytes | None) -> Probed | None:
    async def run() -> Probed | None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"GET /healthz/ready HTTP/1.1\r\n")
            if answer is None:
                await reader.read()
            writer.write(answer or b"")
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            probed = await worker_probe.probe(port, timeout_seconds=0.3)
            await asyncio.sleep(0.01)  # the fake sees its connection end
            return probed

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "probed"),
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nx-hostmesh-epoch: 3\r\n\r\n",
            Probed(ready=True, epoch=3),
            id="ready",
        ),
        pytest.param(
            b"HTTP/1.1 503 No\r\nx-hostmesh-epoch: 3\r\n\r\n",
            Probed(ready=False, epoch=3),
            id="drains",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n\r\n", Probed(ready=True, epoch=-1), id="a stranger on the port"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nx-hostmesh-epoch: x\r\n\r\n",
            Probed(ready=True, epoch=-1),
            id="odd",
        ),
        pytest.param(b"", None, id="closed without a word"),
        pytest.param(None, None, id="accepted and silent"),
    ],
)
def test_tells_who_answered(answer: bytes | None, probed: Probed | None) -> None:
    assert probe(answer) == probed


def test_nobody_there() -> None:
    assert asyncio.run(worker_probe.probe(1)) is None
