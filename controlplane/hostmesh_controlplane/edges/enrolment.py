"""The enrolment listener (:15013): HTTPS without client certificate, for hosts that have none yet.

What the calls mean is the app's `Desk`; this edge holds what the internet may do to it: 16 KiB a
body, a rate per address, ten seconds a request, one moment for every answer that tells about a
token, and no error that is not JSON with a sentence.
"""

import asyncio
import ipaddress
import json
import math
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from hostmesh_controlplane.edges.rate_limit import RateLimit
from hostmesh_core.errors import BadInput, HostmeshError

MAX_BODY_BYTES = 16 * 1024
HANDSHAKE_SECONDS = 5.0
REQUEST_SECONDS = 10.0
CONNECTION_SECONDS = 30.0
"""Who says nothing must not hold a connection for ever: they are counted by the system."""
ANSWER_SECONDS = 0.1
"""No answer about a token comes sooner, so that its time tells nothing."""
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the desk answers."""

    status: int
    body: Mapping[str, object]


class Desk(Protocol):
    """Who answers (`app.enrolment`)."""

    def bundle(self) -> Reply:
        """Give the roots: public, and asked for by hosts that trust nobody yet."""

    def challenge(self) -> Reply:
        """Give a nonce."""

    async def enrol(self, body: Mapping[str, object], address: str) -> Reply:
        """Let a host join, or refuse."""


class Clock(Protocol):
    """What this asks of a clock."""

    def monotonic(self) -> float:
        """Give seconds that never jump."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class CannotListen(HostmeshError):
    """The address is taken, or is not this machine's."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A running listener."""

    address: tuple[str, int]
    reload: Callable[[bytes, bytes], None]
    """Takes a new key and chain (PEM) for every handshake from now on."""


@asynccontextmanager
async def serve(
    listen: str,
    desk: Desk,
    *,
    credentials: tuple[bytes, bytes],
    clock: Clock,
    limit: RateLimit | None = None,
) -> AsyncIterator[Listening]:
    """Serve `desk` on `address:port` with this key and chain (PEM) until left.

    Raises CannotListen, and BadInput for an address that is none.
    """
    application = web.Application(
        client_max_size=MAX_BODY_BYTES,
        middlewares=[_json_errors, _limited(limit or RateLimit(per_second=20, burst=100), clock)],
    )
    application.add_routes(
        [
            web.get("/v1/bundle", _plain(desk.bundle)),
            web.post("/v1/challenge", _plain(desk.challenge)),
            web.post("/v1/enrol", _enrol(desk, clock)),
        ]
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    load_credentials(context, *credentials)
    with closing(open_socket(listen)) as bound:
        runner = web.AppRunner(
            application, access_log=None, handle_signals=False, shutdown_timeout=1.0
        )
        await runner.setup()
        server = await _accepting(runner, bound, context)
        try:
            host, port = bound.getsockname()[:2]
            yield Listening((host, port), partial(load_credentials, context))
        finally:
            server.close()
            await runner.cleanup()


async def _accepting(
    runner: web.AppRunner, bound: socket.socket, context: ssl.SSLContext
) -> asyncio.Server:
    """Accept connections that end after a while, whatever they do or do not: joining is short."""
    loop = asyncio.get_running_loop()
    new_connection = runner.server
    if new_connection is None:
        raise RuntimeError("the runner is not set up")

    def accepted() -> asyncio.Protocol:
        handler = new_connection()
        loop.call_later(CONNECTION_SECONDS, handler.force_close)
        return handler

    return await loop.create_server(
        accepted, sock=bound, ssl=context, ssl_handshake_timeout=HANDSHAKE_SECONDS, backlog=1024
    )


def open_socket(listen: str) -> socket.socket:
    """Bind `address:port`; `[::]` takes IPv4 too, and only IPv4 where the kernel has no IPv6."""
    host, _, port_text = listen.rpartition(":")
    host = host.strip("[]")
    try:
        address, port = ipaddress.ip_address(host), int(port_text)
    except ValueError as error:
        raise BadInput(
            f"cannot listen on {listen!r}: expected address:port, IPv6 in brackets"
        ) from error
    wildcard = host == "::"
    if wildcard and not socket.has_dualstack_ipv6():
        host, address, wildcard = "0.0.0.0", ipaddress.IPv4Address(0), False  # noqa: S104
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        return socket.create_server(
            (host, port), family=family, backlog=1024, dualstack_ipv6=wildcard
        )
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {listen}: {error.strerror or error}; stop what uses it or set "
            "listen.enrolment"
        ) from error


def load_credentials(context: ssl.SSLContext, key_pem: bytes, chain_pem: bytes) -> None:
    """Give a context its key and chain. OpenSSL reads files alone, so it gets one in memory."""
    descriptor = os.memfd_create("credentials", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key_pem + chain_pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")


def _answer(reply: Reply) -> web.Response:
    return web.json_response(dict(reply.body), status=reply.status)


def _error(status: int, text: str, **headers: str) -> web.Response:
    body = json.dumps({"error": text})
    return web.Response(status=status, text=body, headers={**_JSON, **headers})


@web.middleware
async def _json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure with a sentence, and take no longer than a request may."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        return _error(413, f"cannot read the request: over {MAX_BODY_BYTES} bytes")
    except web.HTTPException as error:
        text = f"cannot answer {request.method} {request.path}: {error.reason}"
        return _error(error.status, text, **_allowed(error))
    except TimeoutError:
        return _error(408, f"cannot read the request: not complete after {REQUEST_SECONDS:g} s")
    except HostmeshError as error:
        return _error(400 if isinstance(error, BadInput) else 503, str(error))


def _allowed(error: web.HTTPException) -> dict[str, str]:
    allow = error.headers.get("Allow")
    return {"Allow": allow} if allow else {}


def _limited(limit: RateLimit, clock: Clock) -> Middleware:
    @web.middleware
    async def limited(request: web.Request, handler: Handler) -> web.StreamResponse:
        wait = limit.wait(_peer(request), now=clock.monotonic())
        if wait > 0:
            seconds = str(max(1, math.ceil(wait)))
            text = f"cannot answer now: too many requests from this address; retry in {seconds} s"
            return _error(429, text, **{"Retry-After": seconds})
        return await handler(request)

    return limited


def _plain(call: Callable[[], Reply]) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return _answer(call())

    return handle


def _enrol(desk: Desk, clock: Clock) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        body = await _object(request)
        began = clock.monotonic()
        try:
            reply = await desk.enrol(body, _peer(request))
        finally:
            await clock.sleep(max(0.0, began + ANSWER_SECONDS - clock.monotonic()))
        return _answer(reply)

    return handle


async def _object(request: web.Request) -> dict[str, object]:
    raw = await request.read()
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadInput("cannot read the request: its body is no JSON") from error
    if not isinstance(body, dict):
        raise BadInput("cannot read the request: expected a JSON object")
    return body


def _peer(request: web.Request) -> str:
    """Give the other side's address, an IPv4 one mapped into IPv6 as IPv4."""
    name = request.transport.get_extra_info("peername") if request.transport else None
    if not name:
        return ""
    address = ipaddress.ip_address(name[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
