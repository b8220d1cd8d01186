"""All streams of one host, and the session that outlives them.

One session counts: the newest one. A stream of it may be replaced by a newer stream (a renewed
certificate, a reconnect); a new session (a restarted agent) replaces the old one for good.
"""

from collections import deque
from collections.abc import Callable

from hostmesh_controlplane.edges.host_stream import Link
from hostmesh_controlplane.edges.peer import Peer
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.host_session import Body, HostSession, Key

SESSION_BYTES = 16
REMEMBERED_SESSIONS = 16


class HostConnection:
    """What is remembered of a host's agent while it may come back."""

    def __init__(self, *, replica: Callable[[], bytes], linger_seconds: float) -> None:
        self._new_replica = replica
        self._linger_seconds = linger_seconds
        self._session: HostSession[pb.Down, pb.Up] = HostSession(pb.Down)
        self._session_id = b""
        self._replica = b""
        self._past: deque[bytes] = deque(maxlen=REMEMBERED_SESSIONS)
        self._main: tuple[Peer, Link] | None = None
        self._streams: dict[str, tuple[str, Link]] = {}
        self._leaving: dict[str, float] = {}
        self.hello = pb.Hello()

    @property
    def session_id(self) -> bytes:
        """The session that counts; empty before the first."""
        return self._session_id

    @property
    def peer(self) -> Peer | None:
        """The other end of the stream that is used now."""
        return self._main[0] if self._main else None

    @property
    def stream_count(self) -> int:
        """How many streams are open, proofs and older ones included."""
        return len(self._streams)

    @property
    def unacknowledged(self) -> int:
        """How many bodies the agent has not acknowledged."""
        return self._session.unacknowledged

    def is_past(self, session_id: bytes) -> bool:
        """Whether another session has taken this one's place."""
        return session_id in self._past

    def open(self, peer: Peer, hello: pb.Hello, link: Link, welcome: pb.Welcome) -> bool:
        """Use this stream from now on; tell whether its session is a new one.

        An older stream of the session is left to the agent to close: it may still read from it.
        """
        is_new = hello.session != self._session_id
        if is_new:
            self._replace(hello.session)
        known = hello.replica == self._replica
        welcome.last_seen = self._session.seen
        welcome.replica = self._replica
        self._main = (peer, link)
        self.hello = hello
        self._arrived(peer, link)
        link.send(pb.Down(ack=self._session.seen, welcome=welcome))
        for envelope in self._session.resume(hello.last_seen if known else 0):
            link.send(envelope)
        return is_new

    def prove(self, peer: Peer, link: Link, welcome: pb.Welcome) -> None:
        """Let a stream prove its source address for as long as it lives."""
        self._arrived(peer, link)
        link.send(pb.Down(welcome=welcome))

    def welcome_again(self, welcome: pb.Welcome) -> None:
        """Tell the agent of a changed grant on the stream that it has."""
        if self._main is not None:
            welcome.last_seen = self._session.seen
            welcome.replica = self._replica
            self._main[1].send(pb.Down(ack=self._session.seen, welcome=welcome))

    def left(self, stream_id: str, now: float) -> bool:
        """Forget a stream that ended; tell whether it was the one in use.

        Its address counts a little longer: the next stream is on its way.
        """
        address, _ = self._streams.pop(stream_id, ("", None))
        if address and all(address != other for other, _ in self._streams.values()):
            self._leaving[address] = now + self._linger_seconds
        was_main = self._main is not None and self._main[0].stream_id == stream_id
        if was_main:
            self._main = None
        return was_main

    def received(self, stream_id: str, envelope: pb.Up) -> Body | None:
        """Give the body to handle, if the stream is the one in use and the body is new."""
        if self._main is None or self._main[0].stream_id != stream_id:
            return None  # its session sends it again on the newer stream
        return self._session.receive(envelope)

    def acknowledge(self) -> None:
        """Acknowledge what no envelope has acknowledged yet."""
        if self._main is not None and (envelope := self._session.acknowledgement()) is not None:
            self._main[1].send(envelope)

    def send(self, body: Body) -> None:
        """Send now, or when the agent is back."""
        envelope = self._session.send(body)
        if self._main is not None:
            self._main[1].send(envelope)

    def settle(self, key: Key) -> None:
        """Forget a body that nobody waits for any more."""
        self._session.settle(key)

    def close(self, reason: str, *, again: bool) -> None:
        """End every stream."""
        for _, link in list(self._streams.values()):
            link.close(reason, again=again)

    def remember(self, addresses: tuple[str, ...], now: float) -> None:
        """Count addresses that were proven before this process began."""
        self._leaving.update(dict.fromkeys(addresses, now + self._linger_seconds))

    def back(self, now: float) -> None:
        """Give every address that counted until now the time to be proven again."""
        self._leaving = dict.fromkeys(self._leaving, now + self._linger_seconds)

    def forget_addresses(self) -> None:
        """Let no address count that no stream proves now: the host was away for too long."""
        self._leaving.clear()

    def expire(self, now: float) -> bool:
        """Drop addresses whose stream is long gone; tell whether there were any.

        A host without any stream keeps them: how long it counts is its lease's to say.
        """
        gone = [a for a, until in self._leaving.items() if self._streams and until <= now]
        for address in gone:
            del self._leaving[address]
        return bool(gone)

    @property
    def expiring(self) -> bool:
        """Whether an address counts without a stream while there are others."""
        return bool(self._streams and self._leaving)

    @property
    def proven(self) -> frozenset[str]:
        """The addresses that the host's streams come from, or came from just now."""
        open_now = {address for address, _ in self._streams.values()}
        return frozenset({*open_now, *self._leaving} - {""})

    def _arrived(self, peer: Peer, link: Link) -> None:
        self._streams[peer.stream_id] = (peer.address, link)
        self._leaving.pop(peer.address, None)

    def _replace(self, session_id: bytes) -> None:
        if self._session_id:
            self._past.append(self._session_id)
        self.close("cannot go on: another session of this host has begun", again=True)
        self._session = HostSession(pb.Down)
        self._session_id = session_id
        self._replica = self._new_replica()
