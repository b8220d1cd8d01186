"""The operator API's HTTP on a unix socket: who calls, JSON in and out, one audit line per write.

What the calls mean is the app's; this edge hands each one over as a `Call` and turns the error
families into status codes. The socket's permissions decide who may connect (DESIGN 12), and
SO_PEERCRED says who did.
"""

import json
import os
import pwd
import shutil
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from hostmesh_core.errors import BadInput, HostmeshError, Refused, Unreachable

MAX_BODY_BYTES = 64 * 1024
OPERATORS = "hostmesh-admin"
"""The group whose members may call, where the machine has it."""
_UCRED = struct.Struct("3i")


class TooLarge(BadInput):
    """A request's body that is not read."""


_STATUS: Sequence[tuple[type[HostmeshError], int]] = (
    (TooLarge, 413),
    (BadInput, 400),
    (Refused, 409),
    (Unreachable, 503),
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of the socket, as the kernel says."""

    uid: int
    pid: int
    user: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request: `path` and `query` hold texts, `body` the JSON object of a write."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, object]
    caller: Caller


Handler = Callable[[Call], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Route:
    """One call of the API. `POST` writes and is audited, `GET` reads."""

    method: str
    path: str
    handler: Handler


@dataclass(frozen=True, slots=True)
class Audited:
    """One line of the audit log. `outcome` is `done` or the error's sentence."""

    caller: Caller
    call: str
    body: Mapping[str, object] = field(default_factory=dict)
    outcome: str = "done"
    about: str = ""
    """What the name in the call was found to be: a service's full host name, an id."""
    change: str = ""
    """`before -> after` where the call is about a state; the same twice = nothing changed."""
    bug: Exception | None = None
    """What a handler should not have raised; for the log, the caller gets a sentence."""


Audit = Callable[[Audited], None]


def _caller(request: web.Request) -> Caller:
    peer = request.transport.get_extra_info("socket") if request.transport else None
    if peer is None:
        raise BadInput("cannot tell who calls: the connection is gone")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(credentials)
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return Caller(uid=uid, pid=pid, user=user)


async def _body(request: web.Request) -> dict[str, object]:
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge(
            f"cannot send so much in one call: at most {MAX_BODY_BYTES} bytes; shorten what the "
            "options hold"
        ) from error
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise BadInput(f"cannot read the request's body as JSON: {error}") from error
    except RecursionError as error:
        raise BadInput("cannot read the request's body as JSON: nested too deeply") from error
    if not isinstance(body, dict):
        raise BadInput("cannot use the request's body: expected a JSON object")
    return body


@dataclass(slots=True)
class _Answer:
    """What one request comes to."""

    body: dict[str, object] = field(default_factory=dict)
    outcome: str = "done"
    about: str = ""
    change: str = ""
    status: int = 200
    text: str = ""
    bug: Exception | None = None

    def give(self, answer: object) -> None:
        """Answer with what the handler gives."""
        self.text = json.dumps(answer)
        self.about, self.change = _about(answer), _change(answer)

    def refuse(self, sentence: str, status: int, detail: Mapping[str, object]) -> None:
        """Answer with an error."""
        self.outcome, self.status = sentence, status
        self.about, self.change = _about(detail), _change(detail)
        self.text = json.dumps({**detail, "error": sentence})


def _about(answer: object) -> str:
    """Read what a call turned out to be about: a short name or the beginning of an id says less."""
    if not isinstance(answer, Mapping):
        return ""
    hosts = answer.get("hosts")
    if isinstance(hosts, Sequence):
        return ",".join(map(str, hosts))
    return str(answer.get("host") or answer.get("id") or "")


def _change(answer: object) -> str:
    """Read what a call changed: a write about a state says so in `change`."""
    return str(answer.get("change", "")) if isinstance(answer, Mapping) else ""


async def _answer(request: web.Request, handler: Handler, caller: Caller) -> _Answer:
    answer = _Answer()
    try:
        answer.body = await _body(request)
        call = Call(dict(request.match_info), dict(request.query), answer.body, caller)
        answer.give(await handler(call))
    except HostmeshError as error:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
        answer.refuse(str(error), status, error.detail)
    except Exception as error:  # noqa: BLE001 (a bug is still answered in words, and audited)
        answer.bug = error
        sentence = f"cannot carry out {request.method} {request.path}: a bug in the control plane"
        answer.refuse(f"{sentence} ({type(error).__name__}); its log has the traceback", 500, {})
    return answer


def _endpoint(route: Route, audit: Audit) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        caller = _caller(request)
        given = await _answer(request, route.handler, caller)
        if route.method != "GET" or given.bug is not None:
            call = f"{route.method} {request.path}"
            said = (given.body, given.outcome, given.about, given.change, given.bug)
            audit(Audited(caller, call, *said))
        return web.json_response(text=given.text, status=given.status)

    return answer


def _make_folder(folder: Path) -> None:
    """Make the socket's folder where it is missing, for the operators' group if there is one."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    with suppress(LookupError, PermissionError):
        shutil.chown(folder, group=OPERATORS)
    folder.chmod(0o2750)


@asynccontextmanager
async def serve(path: str, routes: Sequence[Route], *, audit: Audit) -> AsyncIterator[None]:
    """Serve `routes` on the unix socket `path` (0660, set before it listens) until left.

    The folder's group is the socket's (2750). A package has made it; without one it is made here.
    """
    application = web.Application(client_max_size=MAX_BODY_BYTES)
    for route in routes:
        application.router.add_route(route.method, route.path, _endpoint(route, audit))
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    _make_folder(Path(path).parent)
    Path(path).unlink(missing_ok=True)
    before = os.umask(0o117)
    try:
        await web.UnixSite(runner, path).start()
    finally:
        os.umask(before)
    try:
        yield
    finally:
        await runner.cleanup()
        Path(path).unlink(missing_ok=True)
