"""Asks Envoy's admin which clusters are warming: accepted, but not ready to take a request."""

import asyncio
import json

WARMING_PATH = "/config_dump?resource=dynamic_warming_clusters"
ANSWER_SECONDS = 1.0
MAX_BYTES = 16 * 1024 * 1024


async def warming_clusters(admin_socket: str) -> frozenset[str] | None:
    """Give their names; None where the admin does not answer in a second, or not with that."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            body = await _get(admin_socket, WARMING_PATH)
        configs = json.loads(body).get("configs", [])
        return frozenset(str(item["cluster"]["name"]) for item in configs)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, KeyError):
        # Restarting, or too busy: the caller asks again until its own patience ends.
        return None


async def _get(socket: str, path: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(socket, limit=MAX_BYTES)
    try:
        # HTTP/1.0 semantics by hand: the answer ends with the connection.
        request = f"GET {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n"
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError(f"cannot read {path}: Envoy answers {head[:20]!r}")
        if b"transfer-encoding: chunked" in head.lower():
            return await _chunks(reader)
        return await reader.read(MAX_BYTES)
    finally:
        writer.close()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while (size := int((await reader.readline()).strip() or b"0", 16)) and len(body) < MAX_BYTES:
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    return body
