"""What callers without a mesh notice of a joined host, because an Envoy is where the app was.

`join` prints these and docs/join.md has them. tests/lab/test_callers_unmeshed.py plays each of them
against the real Envoy, and finds everything else equal byte for byte.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from hostmesh_agent.config import ServiceConfig
from hostmesh_core.model import InboundMode

CURE = (
    "protocol: tcp passes every byte of HTTP on unread; with a mesh_port, callers without a mesh "
    "go on reaching the app itself"
)
"""What an operator can do where one of these matters."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was."""

    title: str
    text: str

    def __str__(self) -> str:
        """Give it as a sentence."""
        return f"{self.title}: {self.text}"


SOURCE = Difference(
    "source address",
    "the app sees connections from 127.0.0.6 (::6), or from loopback where `listen` is there, "
    "instead of the caller's address. What judges by it (nginx `allow`, `pg_hba.conf`, MariaDB's "
    "grants) no longer matches.",
)
SERVER_FIRST = Difference(
    "server speaks first",
    "a caller that waits for the server's first bytes, or for an answer to fewer than five of its "
    "own, waits five seconds longer. `server_first: true` with inbound strict or disable, or a "
    "`mesh_port`, ends that.",
)
AT_ONCE = Difference(
    "sent and ended at once",
    "what a caller sends that ends its sending side together with its first bytes (`echo … | nc`) "
    "can be lost: Envoy has not yet told TLS from plaintext. A `mesh_port`, or `server_first: "
    "true` with inbound disable, ends that too.",
)
CLOSED = Difference(
    "errors",
    "while the app is down, a connection is accepted and closed at once, where it was refused.",
)
REFUSED = Difference(
    "inbound: strict",
    "callers without a mesh are refused: their connection is closed when they have spoken, or "
    "after up to 10 seconds of silence.",
)
TCP = (SOURCE, SERVER_FIRST, AT_ONCE, CLOSED)
_INSPECTED = (SERVER_FIRST, AT_ONCE)
HTTP = (
    SOURCE,
    Difference(
        "errors",
        "where the app is down, or ends a connection without an answer, callers get 503 from Envoy "
        "(with `x-hostmesh-undelivered` if another instance may be tried) instead of a refused, "
        "closed or reset connection.",
    ),
    Difference(
        "added lines",
        "requests without `x-forwarded-proto` get `x-forwarded-proto: http`, a POST (or a method "
        "unknown to HTTP) without a body gets `content-length: 0`, answers without `Date` get one.",
    ),
    Difference(
        "taken off",
        "`Connection` and what it names, `Keep-Alive` and `Proxy-Connection`, for they are between "
        "two neighbours; `X-Forwarded-Client-Cert`; and the `X-Envoy-…` lines that steer a proxy.",
    ),
    Difference(
        "header lines",
        "names keep their case and lines their order, but `Host` comes first and "
        "`Transfer-Encoding` last; repeated lines of a standard name (`Accept`, `Cache-Control`, "
        "`Via` …, not cookies) arrive as one, joined by commas; folded lines arrive unfolded, bare "
        "line feeds as CR LF, and the names of trailers in lower case.",
    ),
    Difference(
        "limits",
        "headers of more than 1 MiB or of more than 10,000 lines get 431, in an answer 502.",
    ),
    Difference(
        "chunks",
        "are cut anew and lose their extensions; an answer that ended with its connection arrives "
        "in chunks.",
    ),
    Difference(
        "early answers",
        "an answer that comes before the whole request has been read ends the connection.",
    ),
    Difference(
        "connections",
        "the caller's and the app's are two, in pairs. Where the app ends its own (`Connection: "
        "close`, a keep-alive timeout), the caller's stays, for up to an hour without a request.",
    ),
    Difference(
        "half-closed requests",
        "a caller that ends its sending side before the answer has come gets no answer.",
    ),
    Difference(
        "HTTP/1.0",
        "the app sees HTTP/1.1, and the service's name as `Host` where the caller sent none; the "
        "caller is answered in HTTP/1.0 as before.",
    ),
    Difference(
        "upgrades",
        "to `websocket`, `tcp` and `spdy/3.1` pass, `h2c` is ignored, others get 403. One that "
        "the app answers with 200 instead of 101 loses the body of that answer.",
    ),
    Difference(
        "paths",
        "`/a/../b` and `/a/./b` arrive resolved, `\\` as `/`, and needless escapes decoded (`%41` "
        "as `A`); `//` and `%2f` stay. Of `http://host/path`, `host` arrives as `Host`.",
    ),
    Difference(
        "malformed requests",
        "get 400 without reaching the app: HTTP/1.1 without `Host`, both a length and chunks, a "
        "blank before a colon, and a blank, a `#` or a byte outside ASCII in the path. `CONNECT` "
        "and `OPTIONS *` get 404.",
    ),
)
_HTTP1_ONLY = frozenset(
    {"header lines", "chunks", "early answers", "half-closed requests", "HTTP/1.0", "upgrades"}
)


def of(service: ServiceConfig) -> tuple[Difference, ...]:
    """Give what callers without a mesh will notice of this service."""
    if service.mesh_port:
        return ()  # nothing is captured: they reach the app itself
    if service.inbound is InboundMode.STRICT:
        return (REFUSED,)
    if service.protocol is None or not service.protocol.is_http:
        return tuple(e for e in TCP if not (e in _INSPECTED and service.server_first))
    if service.protocol.value == "http":
        return HTTP
    return tuple(each for each in HTTP if each.title not in _HTTP1_ONLY)


def summary(services: Iterable[ServiceConfig]) -> str:
    """Give one line of titles for a screen; empty where nothing differs."""
    titles = dict.fromkeys(each.title for service in services for each in of(service))
    return ", ".join(titles)
