"""Exchanges about request lines and headers."""

from hostmesh_testing.exchanges import (
    CLOSED_BY_ENVOY,
    Differs,
    Exchange,
    answer,
    get,
    many,
    message,
    post,
    refused,
)

TOO_LARGE = message(
    "HTTP/1.1 502 Bad Gateway",
    "content-length: 87",
    "content-type: text/plain",
    body=b"upstream connect error or disconnect/reset before headers. reset reason: protocol error",
)
NOT_HTTP = Differs(
    title="malformed requests",
    app=b"",
    client=refused("HTTP/1.1 400 Bad Request", b"Bad Request"),
    end="closed",
)
NOT_ACCEPTED = Differs(
    title="malformed requests",
    app=b"",
    client=refused("HTTP/1.1 400 Bad Request"),
    end="closed",
)


def _path(path: str, *, to: str = "") -> Exchange:
    differs = Differs(title="paths", app=get(path=to)) if to else None
    return Exchange(f"the path {path}", get(path=path), differs=differs)


_ODD = ("X-ODD-cAsE: 1", "x-lower: 2", "X-Dup: a", "X-Between: b", "X-Dup: c", "X_Under: 1")
_TAKEN_OFF = (
    "X-Forwarded-Client-Cert: By=x",
    "X-Envoy-Retry-On: 5xx",
    "X-Envoy-Upstream-Rq-Timeout-Ms: 5000",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
)
_FORWARDED = (
    "X-Forwarded-For: 192.0.2.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: shop.example",
    "X-Request-ID: mine",
    "Forwarded: for=192.0.2.1",
    "Via: 1.0 front",
    "Cookie: a=1; b=2",
    "User-Agent: old/1",
)

HEADERS = (
    Exchange("a plain request", get()),
    Exchange("the case and order of names", get(*_ODD), answer(*_ODD, "SET-COOKIE: a=1")),
    Exchange("what other proxies wrote", get(*_FORWARDED), answer("Server: own", "Via: 1.1 back")),
    Exchange("bytes outside ASCII", get("X-A: café"), answer("X-A: café")),
    Exchange("several cookies and challenges", get(), answer("Set-Cookie: a", "Set-Cookie: b")),
    Exchange(
        "repeated standard lines",
        get("Accept: a", "Accept: b"),
        answer("Cache-Control: a", "Cache-Control: b"),
        Differs(title="header lines", app=get("Accept: a,b"), client=answer("Cache-Control: a,b")),
    ),
    Exchange(
        "Host that is not the first line",
        message("GET / HTTP/1.1", "X-A: 1", "HOST: Web.Example:8080"),
        differs=Differs(
            title="header lines", app=message("GET / HTTP/1.1", "HOST: Web.Example:8080", "X-A: 1")
        ),
    ),
    Exchange("no Date and no Server", get(), message("HTTP/1.1 200 OK", "Content-Length: 0")),
    Exchange(
        "what is for the next hop",
        get("Connection: keep-alive, X-Hop", "X-Hop: 1", "TE: trailers", *_TAKEN_OFF, "X-Last: 1"),
        answer("Connection: keep-alive", "Keep-Alive: timeout=5"),
        Differs(title="taken off", app=get("TE: trailers", "X-Last: 1"), client=answer()),
    ),
    Exchange("60 KiB of headers", get(*many(15, 4080))),
    Exchange("100 KiB of headers", get(*many(25, 4080))),
    Exchange("1000 KiB of headers", get(*many(250, 4080))),
    Exchange(
        "2 MiB of headers",
        get(*many(500, 4080)),
        differs=Differs(
            title="limits",
            app=b"",
            client=refused(
                "HTTP/1.1 431 Request Header Fields Too Large", b"Request Header Fields Too Large"
            ),
        ),
    ),
    Exchange(
        "an answer with 2 MiB of headers",
        get(),
        answer(*many(500, 4080)),
        Differs(title="limits", client=TOO_LARGE),
    ),
    Exchange("101 headers", get(*many(100))),
    Exchange("200 headers", get(*many(200))),
    Exchange("an answer with 100 KiB of headers", get(), answer(*many(25, 4080))),
    Exchange("an answer with 200 headers", get(), answer(*many(200))),
)
LINES = (
    *(_path(path) for path in ("//a//b", "/%2f%2F/a%2fb", "/..%2f", "/a%5cb", "/a;b?x=%2f../y")),
    _path("/" + "p" * 9000),
    _path("/a/../b", to="/b"),
    _path("/a/./b", to="/a/b"),
    _path("/a\\b", to="/a/b"),
    _path("/%41%7e%20", to="/A~%20"),
    *(
        Exchange(f"the path {path}", get(path=path), differs=differs, silence=CLOSED_BY_ENVOY)
        for path, differs in (("/a b", NOT_HTTP), ("/é", NOT_HTTP), ("/a#part", NOT_ACCEPTED))
    ),
    Exchange(
        "the absolute form",
        message("GET http://other:99/p?q HTTP/1.1", "Host: web"),
        differs=Differs(title="paths", app=message("GET /p?q HTTP/1.1", "Host: other:99")),
    ),
    Exchange(
        "OPTIONS *",
        message("OPTIONS * HTTP/1.1", "Host: web"),
        differs=Differs(
            title="malformed requests",
            app=b"",
            client=message("HTTP/1.1 404 Not Found", "content-length: 0"),
        ),
    ),
    Exchange("PROPFIND", message("PROPFIND / HTTP/1.1", "Host: web", "Content-Length: 0")),
    Exchange(
        "a method of one's own", message("FLY-AWAY / HTTP/1.1", "Host: web", "Content-Length: 0")
    ),
    Exchange(
        "bare line feeds",
        b"GET / HTTP/1.1\nHost: web\nX-A: 1\n\n",
        differs=Differs(title="header lines", app=get("X-A: 1")),
    ),
    Exchange(
        "a folded line",
        b"GET / HTTP/1.1\r\nHost: web\r\nX-A: 1\r\n  2\r\n\r\n",
        differs=Differs(title="header lines", app=get("X-A: 1  2")),
    ),
    Exchange("no Host", message("GET / HTTP/1.1"), differs=NOT_ACCEPTED, silence=CLOSED_BY_ENVOY),
    Exchange("a blank before a colon", get("X-A : 1"), differs=NOT_HTTP, silence=CLOSED_BY_ENVOY),
    Exchange(
        "a length and chunks",
        post("Content-Length: 4", "Transfer-Encoding: chunked", body=b"4\r\nbody\r\n0\r\n\r\n"),
        differs=NOT_HTTP,
        silence=CLOSED_BY_ENVOY,
    ),
)
