"""Exchanges about bodies and how they end."""

import time

from hostmesh_testing.exchanges import (
    CLOSED_BY_ENVOY,
    OK,
    Differs,
    Exchange,
    answer,
    get,
    message,
    post,
    says,
)
from hostmesh_testing.wires import Wire

CHUNKED = "Transfer-Encoding: chunked"
EXPECT = post("Content-Length: 4", "Expect: 100-continue")


def _expects(wire: Wire) -> None:
    wire.send(EXPECT)
    if b" 100 " in wire.head():
        wire.send(b"body")


def _is_impatient(wire: Wire) -> None:
    wire.send(EXPECT)
    time.sleep(0.3)
    wire.send(b"body")


def _continues(wire: Wire) -> None:
    wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    wire.until(lambda got: got.endswith(b"body"))
    wire.send(OK)
    wire.rest()


def _waits_for_the_body(wire: Wire) -> None:
    wire.until(lambda got: got.endswith(b"body"))
    wire.send(OK)
    wire.rest()


def _asks_for_much(wire: Wire) -> None:
    wire.send(post("Content-Length: 100"))
    wire.until(lambda got: got.endswith(b"big"))


_BODY = b"4\r\nbody\r\n2;ext=1\r\nxx\r\n0\r\n\r\n"
_ONE_CHUNK = b"6\r\nbodyxx\r\n0\r\n\r\n"
_TRAILED = b"4\r\nbody\r\n0\r\nX-Trail: 1\r\n\r\n"
_LOWER_TRAILED = b"4\r\nbody\r\n0\r\nx-trail: 1\r\n\r\n"
BODIES = (
    Exchange("Expect and 100", _expects, _continues),
    Exchange(
        "Expect and 417",
        _expects,
        answer(line="HTTP/1.1 417 Expectation Failed"),
        Differs(
            title="early answers",
            client=message(
                "HTTP/1.1 417 Expectation Failed",
                "Date: D",
                "Content-Length: 2",
                "connection: close",
                body=b"ok",
            ),
            end="closed",
        ),
        CLOSED_BY_ENVOY,
    ),
    Exchange("Expect that the app overlooks", _is_impatient, _waits_for_the_body),
    Exchange(
        "an answer before the body",
        _asks_for_much,
        answer(line="HTTP/1.1 413 Too Large", body=b"big"),
        Differs(
            title="early answers",
            client=message(
                "HTTP/1.1 413 Too Large",
                "Date: D",
                "Content-Length: 3",
                "connection: close",
                body=b"big",
            ),
        ),
    ),
    Exchange("a length", post("Content-Length: 4", body=b"body")),
    Exchange("a length of 0", post("Content-Length: 0")),
    Exchange("a GET with a body", get("Content-Length: 4") + b"body"),
    Exchange(
        "a POST without a length",
        post(),
        differs=Differs(title="added lines", app=post("content-length: 0")),
    ),
    Exchange(
        "chunks",
        post(CHUNKED, body=_BODY),
        message("HTTP/1.1 200 OK", "Date: D", CHUNKED, body=_BODY),
        Differs(
            title="chunks",
            app=post(CHUNKED, body=_ONE_CHUNK),
            client=message("HTTP/1.1 200 OK", "Date: D", CHUNKED, body=_ONE_CHUNK),
        ),
    ),
    Exchange(
        "trailers",
        post("Trailer: X-Trail", CHUNKED, body=_TRAILED),
        message("HTTP/1.1 200 OK", "Date: D", "Trailer: X-Trail", CHUNKED, body=_TRAILED),
        Differs(
            title="header lines",
            app=post("Trailer: X-Trail", CHUNKED, body=_LOWER_TRAILED),
            client=message(
                "HTTP/1.1 200 OK", "Date: D", "Trailer: X-Trail", CHUNKED, body=_LOWER_TRAILED
            ),
        ),
    ),
    Exchange(
        "an answer that ends with its connection",
        get(),
        says(b"HTTP/1.1 200 OK\r\nDate: D\r\nConnection: close\r\n\r\nall of it", end=True),
        Differs(
            title="chunks",
            client=b"HTTP/1.1 200 OK\r\nDate: D\r\ntransfer-encoding: chunked\r\n\r\n"
            b"9\r\nall of it\r\n0\r\n\r\n",
            end="open",
        ),
    ),
    Exchange(
        "an answer that is cut short",
        get(),
        says(b"HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 100\r\n\r\nhalf", end=True),
        silence=CLOSED_BY_ENVOY,
    ),
    Exchange("HEAD", message("HEAD / HTTP/1.1", "Host: web"), answer(body=b"a")[:-1]),
    Exchange("204", get(), message("HTTP/1.1 204 No Content", "Date: D")),
    Exchange("304", get(), message("HTTP/1.1 304 Not Modified", "Date: D", "ETag: x")),
    Exchange(
        "304 with a length",
        get(),
        message("HTTP/1.1 304 Not Modified", "Date: D", "Content-Length: 200"),
    ),
    Exchange("a status and reason of one's own", get(), answer(line="HTTP/1.1 299 Very Own")),
    Exchange("early hints", get(), says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)),
    Exchange("102", get(), says(b"HTTP/1.1 102 Processing\r\n\r\n" + OK)),
)
