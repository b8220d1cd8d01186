"""The runner's socket: takes orders from the agent, tells every follower what happens.

One thread, no asyncio: it waits on the socket, its clients, the Envoys' pidfds and signals.
"""

import json
import os
import selectors
import signal
import socket
import stat
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field

from hostmesh_agent.runner import drain, orders
from hostmesh_agent.runner.children import Child, Children
from hostmesh_core.errors import Refused
from hostmesh_core.runner_file import RunnerSettings

MAX_CLIENTS = 16
MAX_UNREAD_BYTES = 256 * 1024
"""A client that does not read is closed: it must not grow the runner."""
_UCRED = struct.Struct("iII")


def log(text: str) -> None:
    """Say something on stderr, where Envoy's own words go too."""
    with suppress(OSError):
        sys.stderr.write(f"hostmesh-agent envoy: {text}\n")
        sys.stderr.flush()


def listen(path: str) -> socket.socket:
    """Open the socket, 0660 from its first moment. Another runner's is not taken: see the lock."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)  # noqa: PTH108
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o117)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(MAX_CLIENTS)
    return listener


@dataclass(slots=True, eq=False)
class Client:
    """One connection."""

    connection: socket.socket
    received: bytes = b""
    unsent: bytearray = field(default_factory=bytearray)
    following: bool = False


class Server:
    """The runner's one loop."""

    def __init__(
        self, settings: RunnerSettings, children: Children, listener: socket.socket
    ) -> None:
        self._settings = settings
        self._children = children
        self._listener = listener
        self._clients: list[Client] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, None)
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)  # noqa: FBT003
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._stopping = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then drain and end the Envoys."""
        signal.set_wakeup_fd(self._waker.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        while not self._stopping:
            self._iterate(None)
        log("told to end")
        self._end_children()
        with suppress(OSError):
            os.unlink(self._settings.socket)  # noqa: PTH108

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _iterate(self, timeout: float | None) -> None:
        """Wait for something and deal with all that is there."""
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._woken:
                with suppress(OSError):
                    self._woken.recv(64)
            elif isinstance(key.data, Child):
                self._ended(key.data)
            elif isinstance(key.data, Client) and key.data in self._clients:
                self._serve(key.data, events)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)  # noqa: FBT003
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, _ = _UCRED.unpack(peer)
        if uid != 0 and uid not in self._settings.client_uids:
            log(f"refused uid={uid}: only root and the agent's user may give orders")
            connection.close()
        elif len(self._clients) >= MAX_CLIENTS:
            log(f"refused uid={uid}: {MAX_CLIENTS} clients already")
            connection.close()
        else:
            client = Client(connection)
            self._clients.append(client)
            self._selector.register(connection, selectors.EVENT_READ, client)

    def _serve(self, client: Client, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._flush(client)
            if events & selectors.EVENT_READ:
                self._read(client)
        except (OSError, orders.NotUnderstood):
            self._drop(client)

    def _read(self, client: Client) -> None:
        data = client.connection.recv(orders.MAX_LINE_BYTES)
        if not data:
            self._drop(client)
            return
        *lines, client.received = (client.received + data).split(b"\n")
        for line in lines:
            self._obey(client, line)
        if len(client.received) > orders.MAX_LINE_BYTES:
            raise orders.NotUnderstood("cannot read the order: too long")

    def _obey(self, client: Client, line: bytes) -> None:
        try:
            order = orders.parse(line)
            match order:
                case orders.Status():
                    self._send(client, self._list())
                case orders.Follow():
                    self._follow(client)
                case orders.Start():
                    self._start(client, order)
                case orders.Kill():
                    log(f"signal epoch={order.epoch} {order.signal}")
                    self._children.kill(order)
                case orders.Acknowledge(pid):
                    self._children.acknowledge(pid)
        except (Refused, orders.NotUnderstood) as error:
            log(f"refused: {error}")
            self._send(client, orders.line(refused=_refused(line, str(error))))

    def _list(self) -> bytes:
        return orders.line(envoys=[child.told() for child in self._children.alive])

    def _follow(self, client: Client) -> None:
        self._send(client, self._list())
        for exited in self._children.exits:
            self._send(client, orders.line(exited=exited))
        client.following = True

    def _start(self, client: Client, order: orders.Start) -> None:
        child = self._children.start(order)
        log(f"started epoch={child.epoch} pid={child.pid} config={child.config}")
        self._selector.register(child.pidfd, selectors.EVENT_READ, child)
        spawned = orders.line(spawned=child.told())
        self._tell(spawned)
        if not client.following:
            self._send(client, spawned)

    def _ended(self, child: Child) -> None:
        self._selector.unregister(child.pidfd)
        exited = self._children.reap(child)
        log(f"ended epoch={child.epoch} pid={child.pid} code={exited['code']}")
        self._tell(orders.line(exited=exited))

    def _tell(self, line: bytes) -> None:
        for client in [client for client in self._clients if client.following]:
            self._send(client, line)

    def _send(self, client: Client, line: bytes) -> None:
        client.unsent += line
        try:
            self._flush(client)
        except OSError:
            self._drop(client)

    def _flush(self, client: Client) -> None:
        with suppress(BlockingIOError):
            sent = client.connection.send(client.unsent) if client.unsent else 0
            del client.unsent[:sent]
        if len(client.unsent) > MAX_UNREAD_BYTES:
            raise BrokenPipeError("the client does not read")
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        self._selector.modify(client.connection, wanted, client)

    def _drop(self, client: Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client.connection)
            client.connection.close()

    def _end_children(self) -> None:
        """Drain, TERM each, KILL what stays; the oldest first, for the newest has the listeners."""
        self._stopping = False  # a second signal cuts the drain short
        self._drain()
        for child in list(self._children.alive):
            for number in (signal.SIGTERM, signal.SIGKILL):
                if child in self._children.alive:
                    self._children.send(child, number)
                    self._await_end(child)

    def _drain(self) -> None:
        """Let the connections end by themselves for a while."""
        admin, ports = self._settings.admin_socket, self._settings.own_ports
        if not admin or not self._children.alive or not drain.begin(admin):
            return
        deadline = time.monotonic() + self._settings.stop_drain_seconds
        while self._children.alive and not self._stopping and time.monotonic() < deadline:
            if not drain.connections(admin, ports):
                return
            self._iterate(drain.POLL_SECONDS)
        log("drain over with connections left")

    def _await_end(self, child: Child) -> None:
        deadline = time.monotonic() + self._settings.stop_seconds
        while child in self._children.alive and time.monotonic() < deadline:
            self._iterate(max(0.0, deadline - time.monotonic()))


def _refused(line: bytes, why: str) -> dict[str, object]:
    """Name the refused order again, so that its sender knows which one it was."""
    with suppress(ValueError, AttributeError):
        message = json.loads(line)
        return {"do": message.get("do"), "epoch": message.get("epoch"), "why": why}
    return {"do": None, "epoch": None, "why": why}
