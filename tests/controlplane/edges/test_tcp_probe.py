import asyncio
import socket
from contextlib import ExitStack, suppress

from hostmesh_controlplane.edges.tcp_probe import accepts


def test_a_listening_port_accepts_and_a_closed_one_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert asyncio.run(accepts("127.0.0.1", port, seconds=1))
    assert not asyncio.run(accepts("127.0.0.1", port, seconds=1))


def test_silence_is_not_waited_for_longer_than_asked() -> None:
    async def run(port: int) -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert not await accepts("127.0.0.1", port, seconds=0.2)
        return loop.time() - start

    with ExitStack() as sockets:
        server = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = server.getsockname()[1]
        for _ in range(2):  # with its backlog full, the kernel leaves a SYN unanswered
            filler = sockets.enter_context(socket.socket())
            filler.settimeout(0)
            with suppress(BlockingIOError):
                filler.connect(("127.0.0.1", port))
        assert asyncio.run(run(port)) < 1.0


def test_what_is_no_address_is_not_there() -> None:
    assert not asyncio.run(accepts("no.such.host.invalid", 80, seconds=1))
