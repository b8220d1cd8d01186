"""Small apps to put behind a sidecar: HTTP that says who answered, TCP that echoes.

Run as `python -m hostmesh_ctl.demo.apps http|echo|greet --name NAME --port PORT`. The HTTP app
writes the begin and the end of each request to a log of its own, one JSON line each, so that what
was inside it when it was killed can be told from what was not.
"""

import argparse
import hashlib
import http.server
import json
import os
import socket
import socketserver
import sys
import time
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

GREETING = b"220 %s speaks first\r\n"


class Journal:
    """The app's own log. Each line is one write, so a SIGKILL tears none."""

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(path, flags, 0o644) if path else -1

    def write(self, event: str, **facts: object) -> None:
        """Append one event with the kernel's monotonic time, the same on every host of a lab."""
        if self._file >= 0:
            line = json.dumps({"at": time.monotonic(), "event": event, **facts})
            os.write(self._file, line.encode() + b"\n")


class Answerer(http.server.BaseHTTPRequestHandler):
    """Answers every request with what it saw of it, as JSON."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    name: ClassVar[str] = ""
    journal: ClassVar[Journal] = Journal("")
    status: ClassVar[dict[str, int]] = {"/health": 200}

    def answer(self) -> None:
        """Log, read, wait if the query asks for it (`delay`, seconds), answer, log."""
        address = urlsplit(self.path)
        query = parse_qs(address.query)
        number = self.headers.get("x-request-number", "")
        health = address.path == "/health"
        if not health:
            self.journal.write("begin", id=number, method=self.command)
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        time.sleep(float(query.get("delay", ["0"])[0]))
        text = json.dumps(self.seen(address.path, body)).encode()
        self.send_response(int(query.get("status", ["200"])[0]))
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.send_header("x-answered-by", self.name)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
        if not health:
            self.journal.write("end", id=number, method=self.command)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - http.server's names

    def seen(self, path: str, body: bytes) -> dict[str, object]:
        """Give what the app saw: the answer's body."""
        return {
            "server": self.name,
            "path": path,
            "method": self.command,
            "protocol": self.request_version,
            "number": self.headers.get("x-request-number", ""),
            "body_sha256": hashlib.sha256(body).hexdigest(),
            "client_certificate": self.headers.get("x-forwarded-client-cert", ""),
            "peer": self.client_address[0],
            "echo": self.headers.get("x-echo", ""),
        }

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the journal is the log."""


class HttpServer(http.server.ThreadingHTTPServer):
    """One thread per connection; a burst of new connections must not meet a full queue."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that goes away is not news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Echo(socketserver.BaseRequestHandler):
    """Gives back what it gets; with a greeting it speaks first."""

    greeting: ClassVar[bytes] = b""

    def handle(self) -> None:
        """Serve one connection."""
        connection: socket.socket = self.request
        if self.greeting:
            connection.sendall(self.greeting)
        while chunk := connection.recv(65536):
            connection.sendall(chunk)


class TcpServer(socketserver.ThreadingTCPServer):
    """One thread per connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256


def family_of(address: str) -> socket.AddressFamily:
    """Give the family of an address; `::` serves both."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def http_app(name: str, address: str, port: int, log: str) -> HttpServer:
    """Make the HTTP app, bound and ready to serve."""
    handler = type("Named", (Answerer,), {"name": name, "journal": Journal(log)})
    bound = type("Bound", (HttpServer,), {"address_family": family_of(address)})
    server: HttpServer = bound((address, port), handler)
    return server


def tcp_app(name: str, address: str, port: int, *, greets: bool) -> TcpServer:
    """Make a TCP app, bound and ready to serve."""
    greeting = GREETING % name.encode() if greets else b""
    handler = type("Greeting", (Echo,), {"greeting": greeting})
    bound = type("Bound", (TcpServer,), {"address_family": family_of(address)})
    server: TcpServer = bound((address, port), handler)
    return server


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="hostmesh_ctl.demo.apps")
    parser.add_argument("kind", choices=["http", "echo", "greet"])
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--listen", default="::")
    parser.add_argument("--log", default="")
    wanted = parser.parse_args(argv)
    if wanted.kind == "http":
        server: socketserver.BaseServer = http_app(
            wanted.name, wanted.listen, wanted.port, wanted.log
        )
    else:
        server = tcp_app(wanted.name, wanted.listen, wanted.port, greets=wanted.kind == "greet")
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
