"""HTTP exchanges between a raw client and a raw app, played without and with a proxy between them.

Both ends' bytes are compared. Where they differ, the exchange says which difference of
`hostmesh_agent.logic.differences` it is, and exactly what arrives instead.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hostmesh_testing.wires import RawApp, Script, Wire

SILENCE_SECONDS = 0.25
"""After this long without a byte an end takes it that none follows."""
CLOSED_BY_ENVOY = 1.6
"""Envoy leaves its peer a second to close first."""
OK = b"HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 2\r\n\r\nok"
ADDED = b"x-forwarded-proto: http\r\n"
"""What every request gets that has no such line."""
A_DATE = re.compile(rb"(?i)date: \w{3}, [\d\w]+ \w{3} \d{4} [\d:]{8} GMT\r\n")
"""What every answer gets that has no such line, and every answer of Envoy's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Differs:
    """What arrives instead where it is not what arrived before; None = as before."""

    title: str
    """Of the difference that says so."""
    app: bytes | None = None
    client: bytes | None = None
    end: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the client sends and what the app answers once it has the whole request."""

    name: str
    ask: bytes | Script
    answer: bytes | Script = OK
    differs: Differs | None = None
    silence: float = SILENCE_SECONDS
    """How long the client waits for the end of the connection after the last byte."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What both ends got."""

    app: bytes
    """What reached the app, over whatever connections."""
    client: bytes
    end: str
    """How the connection ended for the client: open, closed or reset."""

    def but_for(self, differs: Differs | None) -> "Outcome":
        """Give what should be there with this difference."""
        if differs is None:
            return self
        return Outcome(
            self.app if differs.app is None else differs.app,
            self.client if differs.client is None else differs.client,
            self.end if differs.end is None else differs.end,
        )


def without_additions(outcome: Outcome, before: Outcome) -> Outcome:
    """Take off what is added to each message, unless it was there before."""
    app, client = outcome.app, outcome.client
    if ADDED not in before.app:
        app = app.replace(ADDED, b"")
    if not A_DATE.search(before.client):
        client = A_DATE.sub(b"", client)
    return Outcome(app, client, outcome.end)


def play(exchange: Exchange, app: RawApp, dial: Callable[[], Wire]) -> Outcome:
    """Make one exchange."""
    app.plays(_answering(exchange.answer))
    wire = dial()
    if isinstance(exchange.ask, bytes):
        wire.send(exchange.ask)
    else:
        exchange.ask(wire)
    wire.until(bool)
    wire.rest(exchange.silence)
    client, end = wire.got, wire.end
    wire.close()
    got = [each.got for each in app.finished() if each.got]
    return Outcome(b"".join(got), client, end)


def _answering(answer: bytes | Script) -> Script:
    def script(wire: Wire) -> None:
        if not wire.until(is_whole):
            return  # a health check
        if isinstance(answer, bytes):
            wire.send(answer)
            wire.rest()
        else:
            answer(wire)

    return script


def is_whole(got: bytes) -> bool:
    """Tell whether a whole request is here, its body and trailers included.

    A body that waits for a word of the app is not waited for.
    """
    head, found, body = got.partition(b"\r\n\r\n")
    if not found:
        return b"\n\n" in got
    if re.search(rb"(?im)^expect:", head):
        return True
    if re.search(rb"(?im)^transfer-encoding:.*chunked", head):
        return body.endswith(b"\r\n\r\n") and b"0\r\n" in body
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    return len(body) >= int(length[1]) if length else True


def message(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Write a request or an answer."""
    return "\r\n".join([line, *headers, "", ""]).encode() + body


def get(*headers: str, path: str = "/") -> bytes:
    """Write a GET."""
    return message(f"GET {path} HTTP/1.1", "Host: web", *headers)


def post(*headers: str, body: bytes = b"") -> bytes:
    """Write a POST; `headers` say how long its body is."""
    return message("POST / HTTP/1.1", "Host: web", *headers, body=body)


def answer(*headers: str, line: str = "HTTP/1.1 200 OK", body: bytes = b"ok") -> bytes:
    """Write an answer with a Date and, as the last header, its length."""
    return message(line, "Date: D", *headers, f"Content-Length: {len(body)}", body=body)


def many(count: int, size: int = 10) -> Sequence[str]:
    """Give so many headers of so many characters."""
    return [f"X-Many-{number:04}: {'v' * size}" for number in range(count)]


def says(*parts: bytes, end: bool = False) -> Script:
    """Give the app that sends these and then ends the connection, or waits for the client."""

    def script(wire: Wire) -> None:
        for part in parts:
            wire.send(part)
        if not end:
            wire.rest()

    return script


def refused(line: str, body: bytes = b"") -> bytes:
    """Write an answer of Envoy's own, after which it closes."""
    if body:
        kind = "content-type: text/plain"
        return message(line, f"content-length: {len(body)}", kind, "connection: close", body=body)
    return message(line, "connection: close", "content-length: 0")
