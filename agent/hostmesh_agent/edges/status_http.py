"""127.0.0.1:15020: readiness, status and merged metrics of this host, read-only and local.

A handful of lines instead of a web framework: the agent runs on every host, and these three
answers are all that it serves by HTTP.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

MAX_REQUEST_BYTES = 8 * 1024
READ_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Answers:
    """Where the answers come from."""

    ready: Callable[[], str]
    """Empty when ready, else a sentence that says what is waited for."""
    status: Callable[[], object]
    metrics: Callable[[], Awaitable[str]]
    """Prometheus text format 0.0.4."""


async def _answer(path: str, answers: Answers) -> tuple[int, str, str]:
    match path.split("?", 1)[0]:
        case "/healthz/ready":
            waiting_for = answers.ready()
            return (503 if waiting_for else 200), "text/plain", (waiting_for or "ready") + "\n"
        case "/status":
            return 200, "application/json", json.dumps(answers.status()) + "\n"
        case "/stats/prometheus" | "/metrics":
            return 200, "text/plain; version=0.0.4", await answers.metrics()
        case _:
            return 404, "text/plain", "cannot find it: /healthz/ready, /status, /metrics\n"


@asynccontextmanager
async def serve(host: str, port: int, answers: Answers) -> AsyncIterator[int]:
    """Serve until left; gives the port bound (as asked, or the free one that 0 got)."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ", 2)
            if method == "GET":
                status, kind, body = await _answer(path, answers)
            else:
                status, kind, body = 405, "text/plain", "cannot: this port only answers GET\n"
            payload = body.encode()
            writer.write(
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n".encode()
            )
            writer.write(payload)
            await writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # no HTTP, or gone: nobody to answer
        finally:
            writer.close()

    server = await asyncio.start_server(connected, host, port, limit=MAX_REQUEST_BYTES)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
