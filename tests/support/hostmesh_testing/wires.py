"""Two ends that note every byte: a client and an app of raw sockets, each in a host's network.

What happens between them is written down for both, so that it can be compared with what happens
when a proxy stands there.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Host
from hostmesh_testing.waiting import wait_until

QUIET_SECONDS = 5.0
"""How long an end waits for bytes that its script asks for; then it goes on without them."""
SETTLE_SECONDS = 0.05
"""Until a proxy has noticed that its connections to the app are gone, and uses none again."""
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER without a wait: close sends RST."""


class Wire:
    """One end of a connection: what it got, and how the other end ended it."""

    def __init__(self, made: socket.socket, peer: str = "") -> None:
        self.socket = made
        self.socket.settimeout(QUIET_SECONDS)
        self.peer = peer
        """The address that it sees at the other end."""
        self.got = b""
        self.end = "open"
        """`open`, `closed` (by FIN) or `reset` (by RST), as seen from here."""

    def send(self, data: bytes) -> None:
        """Send all; what the other end does not take any more is not this end's matter."""
        with suppress(OSError):
            self.socket.sendall(data)

    def until(self, enough: Callable[[bytes], bool]) -> bytes:
        """Read until `enough` or until nothing comes; give everything read so far."""
        while not enough(self.got) and self._more():
            pass
        return self.got

    def count(self, size: int) -> bytes:
        """Read until so many bytes have come."""
        return self.until(lambda got: len(got) >= size)

    def head(self) -> bytes:
        """Read to the end of an HTTP head."""
        return self.until(lambda got: b"\r\n\r\n" in got)

    def rest(self, seconds: float = QUIET_SECONDS) -> bytes:
        """Read until the other end ends it, or is silent for so long."""
        self.socket.settimeout(seconds)
        return self.until(lambda _: False)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End it the hard way."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.socket.close()

    def close(self) -> None:
        """End it."""
        self.socket.close()

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 20)
        except TimeoutError:
            return False
        except OSError:
            self.end = "reset"
            return False
        if not data:
            self.end = "closed"
        self.got += data
        return bool(data)


Script = Callable[[Wire], object]


class RawApp:
    """An app that does on each connection what its script says, and keeps each connection."""

    def __init__(self, host: Host, port: int, address: str = "::") -> None:
        self.wires: list[Wire] = []
        self.script: Script = Wire.rest
        self._threads: list[threading.Thread] = []
        self._listener = inside.listen(host.holder.pid, address, port)
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()

    def plays(self, script: Script) -> None:
        """End and forget what was, and do this from now on."""
        self.finished()
        self.wires, self._threads, self.script = [], [], script

    def finished(self, seconds: float = 15.0) -> list[Wire]:
        """End what is still open, wait until each script is through, and give every connection."""
        for wire in list(self.wires):
            with suppress(OSError):
                wire.socket.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(seconds)
        time.sleep(SETTLE_SECONDS)
        return self.wires

    def ended(self, count: int, seconds: float = 15.0) -> list[Wire]:
        """Wait until the script is through on so many connections, and give them."""
        wait_until(lambda: len(self._threads) >= count)
        for thread in list(self._threads):
            thread.join(seconds)
        return self.wires

    def close(self) -> None:
        """Listen no more: connections to the port are refused."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                made, peer = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._play, args=(Wire(made, peer[0]),), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _play(self, wire: Wire) -> None:
        self.wires.append(wire)
        try:
            self.script(wire)
        finally:
            wire.close()

    def __enter__(self) -> Self:
        """Serve for the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def connect(host: Host, address: str, port: int) -> Wire:
    """Connect from a host. Raises NoAnswer."""
    return Wire(inside.connect(host.holder.pid, address, port))
