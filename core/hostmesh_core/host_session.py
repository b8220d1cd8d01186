"""One side of a host-stream session (DESIGN 7): numbering, acknowledging, sending again. No IO.

A session outlives its streams. The agent makes one per process; the control plane keeps its side of
it as long as it remembers that agent. Rules, the same on both sides:

- `seq` counts from 1 within session and direction. Hello and Welcome open a stream, carry seq 0 and
  are not part of the count; so does a bare acknowledgement.
- A stream carries nothing but its handshake until `resume` has said what to send first; from then
  on both sides use the newest stream alone and drop what an older one still brings (it is sent
  again). So no body overtakes another, and what is not newer than the last seen is a repetition.
- A body replaces an older one about the same thing, which leaves a hole in the numbers; holes mean
  nothing.
- What states how things are (`_STATE`), and a request that is not answered yet (`_REQUESTS`), is
  kept after its acknowledgement: another replica, or a restarted one, has seen nothing and gets it
  again. Whose count it is, is said in the handshakes (`replica`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from hostmesh_core._pb import host_pb2 as pb

UpBody = (
    pb.Register
    | pb.Renew
    | pb.HealthReport
    | pb.CertificateRequest
    | pb.Applied
    | pb.Rejected
    | pb.Use
    | pb.Drain
    | pb.Answer
    | pb.Callers
)
DownBody = pb.Issue | pb.Revoked | pb.Drained | pb.Query | pb.Pace | pb.Verdict
Body = UpBody | DownBody

MAX_UNACKNOWLEDGED = 4096
"""Bodies kept for a peer that does not answer; beyond it the oldest that is no state goes."""

_FIELDS: dict[str, str] = {
    field.message_type.full_name: field.name
    for envelope in (pb.Up, pb.Down)
    for field in envelope.DESCRIPTOR.oneofs_by_name["body"].fields
    if field.message_type is not None
}
_STATE = ("register", "health", "applied", "use", "callers")
_REQUESTS = ("certificate_request", "drain")

Key = tuple[str, ...]
Out = TypeVar("Out", pb.Up, pb.Down)
In = TypeVar("In", pb.Up, pb.Down)


def subject(body: Body) -> Key:
    """Name what a body is about: a newer body of the same subject makes the older one moot."""
    about: Key = ()
    match body:
        case pb.HealthReport():
            about = (body.namespace, body.service, str(body.workload_port))
        case pb.CertificateRequest() | pb.Issue():
            about = (body.request_id,)
        case pb.Applied():
            about = (body.type_url,)
        case pb.Rejected():
            about = (body.type_url, body.name)
        case pb.Drain() | pb.Drained():
            about = tuple(sorted(body.services))
        case pb.Query() | pb.Answer():
            about = (body.query_id,)
        case _:
            pass
    return (_FIELDS[body.DESCRIPTOR.full_name], *about)


@dataclass(slots=True)
class _Kept:
    seq: int
    body: Body


class HostSession(Generic[Out, In]):
    """What one side remembers. `Out` is the envelope that it sends, `In` the one it receives."""

    def __init__(self, envelope: Callable[..., Out]) -> None:
        self._envelope: Callable[..., Out] = envelope
        self._sent = 0
        self._acknowledged = 0
        self._seen = 0
        self._ack_sent = 0
        self._kept: dict[Key, _Kept] = {}

    @property
    def seen(self) -> int:
        """The highest seq of the other side that was handled: `last_seen` of Hello and Welcome."""
        return self._seen

    @property
    def unacknowledged(self) -> int:
        """How many bodies the other side has not acknowledged."""
        return sum(kept.seq > self._acknowledged for kept in self._kept.values())

    def send(self, body: Body) -> Out:
        """Number a body and keep it. The caller puts the envelope on its newest resumed stream.

        Without such a stream the caller drops the envelope: the next `resume` gives it again.
        """
        self._sent += 1
        key = subject(body)
        self._kept.pop(key, None)
        if key[0] == "register":
            # It carries each service's health, so older reports say nothing that it does not.
            self._drop([old for old in self._kept if old[0] == "health"])
        self._kept[key] = _Kept(self._sent, body)
        self._bound()
        return self._wrap(self._kept[key])

    def receive(self, envelope: In) -> Body | None:
        """Give the body to handle, or None for what was handled before or is not known here.

        An unknown body counts as handled: versions that differ must live together.
        """
        self._take_ack(envelope.ack)
        if envelope.seq <= self._seen:
            return None
        self._seen = envelope.seq
        field = envelope.WhichOneof("body")
        if field is None or field in ("hello", "welcome"):
            return None
        body: Body = getattr(envelope, field)
        return body

    def acknowledgement(self) -> Out | None:
        """Give a bare acknowledgement where one is owed and no envelope has carried it."""
        if self._ack_sent == self._seen:
            return None
        self._ack_sent = self._seen
        return self._envelope(ack=self._seen)

    def resume(self, last_seen: int, *, other_replica: bool = False) -> list[Out]:
        """Begin on a new stream: give what to send first, in order.

        `last_seen` is what the other side's handshake says, 0 where it counts for another replica.
        `other_replica`: what this side has seen counted for another one, so it has seen nothing.
        """
        if other_replica:
            self._seen = self._ack_sent = 0
        self._acknowledged = min(last_seen, self._sent)
        self._forget_acknowledged()
        # In the order of their numbers: `send` puts each at the end.
        return [self._wrap(k) for k in self._kept.values() if k.seq > self._acknowledged]

    def settle(self, key: Key) -> None:
        """Forget a body: its request was answered, or nobody waits for it any more."""
        self._kept.pop(key, None)

    def _wrap(self, kept: _Kept) -> Out:
        self._ack_sent = self._seen
        envelope = self._envelope(seq=kept.seq, ack=self._seen)
        getattr(envelope, _FIELDS[kept.body.DESCRIPTOR.full_name]).CopyFrom(kept.body)
        return envelope

    def _take_ack(self, ack: int) -> None:
        if ack > self._acknowledged:
            self._acknowledged = min(ack, self._sent)
            self._forget_acknowledged()

    def _forget_acknowledged(self) -> None:
        self._drop(
            [
                key
                for key, kept in self._kept.items()
                if kept.seq <= self._acknowledged and key[0] not in (*_STATE, *_REQUESTS)
            ]
        )

    def _bound(self) -> None:
        excess = len(self._kept) - MAX_UNACKNOWLEDGED
        if excess > 0:
            droppable = [key for key in self._kept if key[0] not in (*_STATE, *_REQUESTS)]
            self._drop(droppable[:excess])

    def _drop(self, keys: list[Key]) -> None:
        for key in keys:
            del self._kept[key]
