"""The agent's control socket: `status`, `reload`, `leave`, `restart-envoy` of a running agent.

One JSON object per line in, one out; a long call may give `progress` lines before its last one.
Only root and the agent's own user are answered (SO_PEERCRED), whatever the file's mode says.
"""

import asyncio
import json
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from hostmesh_core.errors import BadInput, HostmeshError, Refused, Unreachable

_UCRED = struct.Struct("3i")
MAX_LINE_BYTES = 1024 * 1024
"""The longest call holds a whole agent.yaml."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MOST_TIMEOUTS = 5
"""How many times its time between two lines a whole answer may take."""
CHUNK_BYTES = 256 * 1024

Progress = Callable[[str], None]
Handler = Callable[[Mapping[str, object], Progress], Awaitable[object]]


class ControlUnreachable(Unreachable):
    """No agent answers on the control socket."""


class _Connection:
    """One caller: a line in, lines out."""

    def __init__(self, handlers: Mapping[str, Handler], writer: asyncio.StreamWriter) -> None:
        self._handlers = handlers
        self._writer = writer

    def _say(self, **answer: object) -> None:
        self._writer.write(json.dumps(answer).encode() + b"\n")

    def _allowed(self) -> bool:
        peer = self._writer.get_extra_info("socket")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, _ = _UCRED.unpack(credentials)
        return uid in (0, os.getuid())

    async def answer(self, line: bytes) -> None:
        """Answer one call; an error is an answer too."""
        if not self._allowed():
            self._say(error="cannot answer this user: only root and the agent's own user may call")
            return
        try:
            request = json.loads(line)
            handler = self._handlers[request["do"]]
        except (ValueError, KeyError, TypeError):
            known = ", ".join(sorted(self._handlers))
            self._say(error=f"cannot understand the call; this agent knows: {known}")
            return
        try:
            result = await handler(request, lambda text: self._say(progress=text))
        except HostmeshError as error:
            self._say(error=str(error), bad_input=isinstance(error, BadInput))
        else:
            self._say(result=result)


@asynccontextmanager
async def serve(path: str, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Serve the control socket until left (0660, set before it listens)."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(handlers, writer)
        try:
            if line := await reader.readline():
                await connection.answer(line)
                await writer.drain()
        except (ConnectionError, ValueError):
            return  # the caller went away, or sent a line beyond the limit
        finally:
            writer.close()

    Path(path).unlink(missing_ok=True)
    before = os.umask(0o117)
    try:
        server = await asyncio.start_unix_server(connected, path, limit=MAX_LINE_BYTES)
    finally:
        os.umask(before)
    try:
        yield
    finally:
        server.close()
        Path(path).unlink(missing_ok=True)


def call(path: str, verb: str, *, timeout: float, progress: Progress, **args: object) -> object:
    """Call a running agent, blocking for `timeout` seconds at most between two lines.

    It is root who calls, mostly, and somebody less trusted who answers: an answer that never ends,
    or is none, ends here. Raises ControlUnreachable where none answers, Refused or BadInput with
    the agent's own sentence.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(path)
            _check_server(connection, path)
            connection.sendall(json.dumps({"do": verb, **args}).encode() + b"\n")
            return _last(path, _lines(connection, timeout), progress)
        except PermissionError as error:
            raise ControlUnreachable(
                f"cannot open {path}: permission denied; run as root"
            ) from error
        except TimeoutError as error:
            raise ControlUnreachable(
                f"cannot get an answer from the agent at {path} within {timeout:.0f} s"
            ) from error
        except OSError as error:
            raise ControlUnreachable(
                f"cannot reach a running agent at {path}: start it with: hostmesh-agent run --all"
            ) from error


def _check_server(connection: socket.socket, path: str) -> None:
    """Raise ControlUnreachable where a link has led to somebody else's socket."""
    owner = os.stat(os.path.dirname(path) or ".").st_uid  # noqa: PTH116, PTH120
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(credentials)
    if uid != owner:
        raise ControlUnreachable(
            f"cannot use {path}: uid {uid} serves it, the agent is uid {owner}; nothing was said "
            "to it"
        )


def _lines(connection: socket.socket, timeout: float) -> Iterator[bytes]:
    """Give whole lines. Raises TimeoutError where one, or all of them, take too long."""
    end, rest = time.monotonic() + MOST_TIMEOUTS * timeout, b""
    while True:
        connection.settimeout(max(0.001, min(timeout, end - time.monotonic())))
        chunk = connection.recv(CHUNK_BYTES)
        if not chunk:
            return
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if time.monotonic() > end or len(rest) > MAX_ANSWER_BYTES:
            raise TimeoutError


def _last(path: str, lines: Iterable[bytes], progress: Progress) -> object:
    for line in lines:
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        match answer:
            case {"progress": str(text)}:
                progress(text)
            case {"error": str(text)}:
                raise (BadInput if answer.get("bad_input") else Refused)(text)
            case {"result": result}:
                return result
            case _:
                raise ControlUnreachable(
                    f"cannot understand the answer at {path}: is the agent of another version?"
                )
    raise ControlUnreachable(f"cannot read the agent's answer at {path}: it closed the connection")
