"""The demo's HTTP app again, for many requests a second: one event loop, no thread, no stream.

Its answers and its journal are those of `hostmesh_ctl.demo.apps`; a line of the journal holds
besides who asked (`x-client`) and whether a client's certificate came with it.
"""

import argparse
import asyncio
import hashlib
import json
import sys
from collections.abc import Mapping

from hostmesh_ctl.demo.apps import Journal

NOTHING = hashlib.sha256(b"").hexdigest()


class Connection(asyncio.Protocol):
    """Answers one request after the other."""

    transport: asyncio.Transport

    def __init__(self, name: str, journal: Journal) -> None:
        self._name = name
        self._journal = journal
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._got[:end].decode("latin-1").split("\r\n")
            pairs = (line.split(":", 1) for line in lines)
            headers = {name.lower(): value.strip() for name, value in pairs}
            length = int(headers.get("content-length", "0"))
            body = self._got[end + 4 : end + 4 + length]
            if len(body) < length:
                return
            self._got = self._got[end + 4 + length :]
            self._answer(first, headers, body)

    def _answer(self, first: str, headers: Mapping[str, str], body: bytes) -> None:
        method, path, _ = first.split()
        number = headers.get("x-request-number", "")
        facts = {
            "id": number,
            "method": method,
            "client": headers.get("x-client", ""),
            "plain": "x-forwarded-client-cert" not in headers,
        }
        if path != "/health":
            self._journal.write("begin", **facts)
        said = {
            "server": self._name,
            "method": method,
            "number": number,
            "body_sha256": hashlib.sha256(body).hexdigest() if body else NOTHING,
            "client_certificate": headers.get("x-forwarded-client-cert", ""),
        }
        text = json.dumps(said).encode()
        closes = headers.get("connection", "") == "close"
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\nx-answered-by: {self._name}\r\n"
        head += "connection: close\r\n\r\n" if closes else "\r\n"
        self.transport.write(head.encode() + text)
        if path != "/health":
            self._journal.write("end", **facts)
        if closes:
            self.transport.close()


async def serve(name: str, port: int, log: str) -> None:
    """Serve until killed."""
    journal = Journal(log)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(name, journal), "0.0.0.0", port, backlog=1024
    )
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="hostmesh_testing.steady.app")
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", required=True)
    wanted = parser.parse_args()
    asyncio.run(serve(wanted.name, wanted.port, wanted.log))


if __name__ == "__main__":
    main()
