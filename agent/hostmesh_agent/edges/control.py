"""The agent's control socket: `status`, `reload`, `leave`, `restart-envoy` of a running agent.

One JSON object per line in, one out; a long call may give `progress` lines before its last one.
Only root and the agent's own user are answered (SO_PEERCRED), whatever the file's mode says.
"""

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from hostmesh_core.errors import BadInput, HostmeshError, Refused, Unreachable

_UCRED = struct.Struct("3i")
MAX_LINE_BYTES = 1024 * 1024
"""The longest call holds a whole agent.yaml."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024

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

    Raises ControlUnreachable where none answers, Refused or BadInput with the agent's own sentence.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(path)
            connection.sendall(json.dumps({"do": verb, **args}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                return _last(path, lines.readline, progress)
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


def _last(path: str, read: Callable[[int], bytes], progress: Progress) -> object:
    while line := read(MAX_ANSWER_BYTES):
        answer = json.loads(line)
        if "progress" in answer:
            progress(answer["progress"])
        elif "error" in answer:
            raise (BadInput if answer.get("bad_input") else Refused)(answer["error"])
        else:
            return answer["result"]
    raise ControlUnreachable(f"cannot read the agent's answer at {path}: it closed the connection")
