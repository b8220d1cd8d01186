"""Exchanges about connections: kept, ended, upgraded, of another version."""

import time

from hostmesh_testing.exchanges import (
    CLOSED_BY_ENVOY,
    OK,
    Differs,
    Exchange,
    answer,
    get,
    message,
    refused,
    says,
)
from hostmesh_testing.wires import Script, Wire

MESH_NAME = "web.default.mesh.internal"
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nx-hostmesh-undelivered: 1\r\ncontent-length: 95\r\n"
    b"content-type: text/plain\r\n\r\nupstream connect error or disconnect/reset before headers. "
    b"reset reason: connection termination"
)


def _answers_each(wire: Wire) -> None:
    number = 1
    while wire.got.count(b"\r\n\r\n") >= number:
        wire.send(OK)
        number += 1
        wire.until(lambda got: got.count(b"\r\n\r\n") >= number)  # noqa: B023 - called at once


def _asks_twice(wire: Wire) -> None:
    wire.send(get(path="/1"))
    wire.until(lambda got: got.endswith(b"ok"))
    wire.send(get(path="/2"))
    wire.until(lambda got: got.count(b"ok") == 2)


def _ends_its_side(wire: Wire) -> None:
    wire.send(get())
    time.sleep(0.2)
    wire.half_close()


def _is_slow(wire: Wire) -> None:
    time.sleep(0.6)
    wire.send(OK)


def _upgrades(kind: str) -> Script:
    def ask(wire: Wire) -> None:
        wire.send(get("Connection: Upgrade", f"Upgrade: {kind}"))
        wire.head()
        wire.send(b"ping")
        wire.until(lambda got: got.endswith(b"pong"))

    return ask


def _switches(kind: str) -> Script:
    def play(wire: Wire) -> None:
        line = "HTTP/1.1 101 Switching Protocols"
        wire.send(message(line, "Connection: Upgrade", f"Upgrade: {kind}"))
        wire.until(lambda got: got.endswith(b"ping"))
        wire.send(b"pong")
        wire.rest()

    return play


_10 = b"GET / HTTP/1.0\r\n\r\n"
_10_SEEN = message("GET / HTTP/1.1", f"host: {MESH_NAME}")
CONNECTIONS = (
    Exchange("requests in a row", get(path="/1") + get(path="/2"), _answers_each),
    Exchange("a kept connection", _asks_twice, _answers_each),
    Exchange(
        "Connection: close of the caller",
        get("Connection: close"),
        says(answer("Connection: close"), end=True),
        Differs(
            title="taken off",
            app=get(),
            client=message(
                "HTTP/1.1 200 OK", "Date: D", "Content-Length: 2", "Connection: close", body=b"ok"
            ),
        ),
        CLOSED_BY_ENVOY,
    ),
    Exchange(
        "Connection: close of the app",
        get(),
        says(answer("Connection: close"), end=True),
        Differs(title="connections", client=answer(), end="open"),
    ),
    Exchange(
        "a caller that closes its side",
        _ends_its_side,
        _is_slow,
        Differs(title="half-closed requests", client=b""),
        CLOSED_BY_ENVOY,
    ),
    Exchange(
        "an app that ends without an answer",
        get(),
        says(end=True),
        Differs(title="errors", client=UNAVAILABLE, end="open"),
    ),
    Exchange(
        "an app that resets",
        get(),
        Wire.reset,
        Differs(title="errors", client=UNAVAILABLE, end="open"),
    ),
    Exchange(
        "HTTP/1.0 without Host",
        _10,
        says(b"HTTP/1.0 200 OK\r\nDate: D\r\n\r\nall of it", end=True),
        Differs(
            title="HTTP/1.0",
            app=_10_SEEN,
            client=b"HTTP/1.0 200 OK\r\nDate: D\r\nconnection: close\r\n\r\nall of it",
        ),
    ),
    Exchange(
        "HTTP/1.0 that is answered in chunks",
        _10,
        says(
            message(
                "HTTP/1.1 200 OK",
                "Date: D",
                "Transfer-Encoding: chunked",
                body=b"2\r\nok\r\n0\r\n\r\n",
            ),
            end=True,
        ),
        Differs(
            title="HTTP/1.0",
            app=_10_SEEN,
            client=b"HTTP/1.0 200 OK\r\nDate: D\r\nconnection: close\r\n\r\nok",
        ),
    ),
    Exchange(
        "HTTP/1.0 that keeps its connection",
        message("GET / HTTP/1.0", "Host: web", "Connection: keep-alive"),
        message("HTTP/1.0 200 OK", "Content-Length: 2", "Connection: keep-alive", body=b"ok"),
        Differs(title="HTTP/1.0", app=get()),
    ),
    Exchange("websocket", _upgrades("websocket"), _switches("websocket")),
    Exchange("an upgrade to tcp", _upgrades("tcp"), _switches("tcp")),
    Exchange(
        "an upgrade that the app refuses",
        get("Connection: Upgrade", "Upgrade: websocket"),
        answer("Upgrade: websocket", "Connection: Upgrade", line="HTTP/1.1 426 Upgrade"),
    ),
    Exchange(
        "an upgrade to something of one's own",
        _upgrades("own/1"),
        _switches("own/1"),
        Differs(title="upgrades", app=b"", client=refused("HTTP/1.1 403 Forbidden"), end="closed"),
        CLOSED_BY_ENVOY,
    ),
    Exchange(
        "an upgrade to h2c",
        get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
        differs=Differs(title="upgrades", app=get()),
    ),
    Exchange(
        "CONNECT",
        message("CONNECT far:443 HTTP/1.1", "Host: far:443"),
        differs=Differs(
            title="malformed requests",
            app=b"",
            client=refused("HTTP/1.1 404 Not Found"),
            end="closed",
        ),
        silence=CLOSED_BY_ENVOY,
    ),
)
