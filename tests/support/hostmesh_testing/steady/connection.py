"""A bare HTTP/1.1 client connection without streams: one request at a time, nothing retried.

On a plain socket and the loop's readers and writers: transports and tasks cost this client more
than what it sends, and its processor time is taken from what it measures.
"""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable

from hostmesh_ctl.demo.http_client import Answer

Done = Callable[[Answer | None, str], None]
"""Gets the answer, or None and what happened instead."""
CUT_SHORT = "BrokenAnswer: the connection ended inside the answer"
NOT_SENT = "BrokenAnswer: the connection ended before a byte of the answer"
_READ_BYTES = 1 << 16


class Connection:
    """One TCP connection over IPv4. `number` names it in the records."""

    def __init__(self, number: int, address: str) -> None:
        self.number = number
        self.address = address
        self.ended = False
        self.deadline = 0.0
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._connected = False
        self._unsent = b""
        self._got = b""
        self._done: Done | None = None

    def connect(self, port: int) -> None:
        """Begin to connect; what is sent meanwhile waits for it. Raises OSError."""
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self._socket.connect_ex((self.address, port))
        if code not in (0, errno.EINPROGRESS):
            self.close()
            raise OSError(code, os.strerror(code))
        self._loop.add_writer(self._socket, self._writable)

    def exchange(self, packet: bytes, done: Done, *, within: float) -> None:
        """Send one request; `done` is called once, at the latest by `expire`."""
        self._done = done
        self._got = b""
        self.deadline = time.monotonic() + within
        self._unsent += packet
        if self._connected:
            self._send()

    def expire(self) -> None:
        """Give up on the answer."""
        self._fail("no answer in time" if self._connected else "no connection in time")

    def close(self) -> None:
        """Close at once."""
        if self._socket.fileno() >= 0:
            self._loop.remove_writer(self._socket)
            self._loop.remove_reader(self._socket)
            self._socket.close()
        self.ended = True

    def _writable(self) -> None:
        if not self._connected:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._fail(_told(OSError(code, os.strerror(code))))
                return
            self._connected = True
            self._loop.add_reader(self._socket, self._readable)
        self._loop.remove_writer(self._socket)
        self._send()

    def _send(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail(_told(error))
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._loop.add_writer(self._socket, self._writable)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(_told(error))
            return
        if not data:
            self._fail(CUT_SHORT if self._got else NOT_SENT)
            return
        self._got += data
        self._take()

    def _take(self) -> None:
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = self._got[:end].decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        try:
            status, length = int(first.split()[1]), int(headers["content-length"])
        except (ValueError, IndexError, KeyError):
            self._fail(f"BrokenAnswer: no HTTP with a length: {first[:60]}")
            return
        body = self._got[end + 4 :]
        if len(body) >= length:
            self._finish(Answer(status, headers, body[:length]), "")

    def _fail(self, error: str) -> None:
        self.close()
        self._finish(None, error)

    def _finish(self, answer: Answer | None, error: str) -> None:
        if self._done is not None:
            done, self._done = self._done, None
            done(answer, error)


def _told(error: OSError) -> str:
    return f"{type(error).__name__}: {error}"
