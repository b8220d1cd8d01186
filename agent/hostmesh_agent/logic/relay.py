"""The relay: what comes from the control plane is stored, then led into every Envoy of this host.

Upstream response → working set → closed generation → `Store` → served to each Envoy in order →
`Applied` or `Rejected`. Until there is a newer closed generation the stored one is served, with or
without a control plane. Pure: every method takes what happened and gives commands.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_agent.logic.relay_envoy import EnvoyStream, Outcome
from hostmesh_agent.logic.relay_upstream import Closed, Marks, Upstream
from hostmesh_core.xds.reports import Nacked
from hostmesh_core.xds.resource import Resource
from hostmesh_core.xds.store import Generation
from hostmesh_core.xds.subscription import Subscription


@dataclass(frozen=True, slots=True)
class SendUpstream:
    """Send these on the open upstream stream, in order."""

    requests: tuple[DeltaDiscoveryRequest, ...]


@dataclass(frozen=True, slots=True)
class SendEnvoy:
    """Send these on this Envoy's stream, in order."""

    stream: int
    responses: tuple[DeltaDiscoveryResponse, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """Write this to the disk, then call `stored`."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Served:
    """From now on this generation is the one that is led into every Envoy."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Good:
    """Every Envoy that is connected runs on this generation."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Applied:
    """Every Envoy has taken a type up to this version, but for what was reported as rejected."""

    type_url: str
    version: str
    stream_id: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """An Envoy refused a resource and goes on with the one before."""

    type_url: str
    name: str
    version: str
    detail: str
    stream_id: str


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Clusters did not become active in time: what refers to them is served all the same."""

    epoch: int | None
    clusters: tuple[str, ...]


Command = SendUpstream | SendEnvoy | Store | Served | Good | Applied | Rejected | GaveUp


@dataclass(slots=True)
class _Envoy:
    stream: EnvoyStream | None = None
    """None until there is a generation to serve."""
    waiting: list[DeltaDiscoveryRequest] = field(default_factory=list)


class Relay:
    """All of the relay's state. Streams of Envoys are named by numbers that the caller chooses."""

    def __init__(self, node: Node, restored: Generation | None = None) -> None:
        """Begin; `restored` is served from the start. Raises Unreadable where it cannot be."""
        self._upstream = Upstream(node, restored)
        self._served = restored
        self._marks: Marks = {}
        self._storing: Closed | None = None
        self._next: Closed | None = None
        self._stored_sequence = restored.sequence if restored else 0
        self._envoys: dict[int, _Envoy] = {}
        self._secrets: dict[str, Resource] = {}
        self._reported: dict[str, object] = {}
        self._good = 0
        self._condemned = -1

    @property
    def served(self) -> Generation | None:
        """The generation that is served, or None while there never was one."""
        return self._served

    @property
    def waits_for(self) -> frozenset[tuple[str, str]]:
        """Type and name of what the next generation lacks."""
        return self._upstream.waits_for()

    # Towards the control plane

    def connected(self, stream_id: str) -> list[Command]:
        """A new upstream stream is open; it replaces the one before."""
        self._drop_answers()
        return _upstream(self._upstream.connect(stream_id))

    def disconnected(self) -> list[Command]:
        """The upstream stream is gone."""
        self._drop_answers()
        self._upstream.disconnect()
        return []

    def _drop_answers(self) -> None:
        """Forget what waits for the disk to be said on a stream: that stream is gone."""
        self._storing = self._storing and Closed(self._storing.generation, {}, ())
        self._next = self._next and Closed(self._next.generation, {}, ())

    def received(self, response: DeltaDiscoveryResponse, now: float) -> list[Command]:
        """A response came on the open upstream stream."""
        commands = _upstream(self._upstream.receive(response))
        closed = self._upstream.close()
        if closed is None:
            return commands
        if self._storing is not None:
            acks = self._next.acks if self._next else ()
            self._next = Closed(closed.generation, closed.marks, (*acks, *closed.acks))
            return commands
        return commands + self._store(closed, now)

    def stored(self, sequence: int, now: float) -> list[Command]:
        """The disk has it, or has failed, which the caller reports: it is served all the same."""
        closed = self._storing
        if closed is None or closed.generation.sequence != sequence:
            return []
        self._storing = None
        self._stored_sequence = sequence
        commands = self._take(closed, now)
        if self._next is not None:
            following, self._next = self._next, None
            commands += self._store(following, now)
        return commands

    def _store(self, closed: Closed, now: float) -> list[Command]:
        if closed.generation.sequence == self._stored_sequence:
            return self._take(closed, now)
        self._storing = closed
        return [Store(closed.generation)]

    def _take(self, closed: Closed, now: float) -> list[Command]:
        commands = _upstream(closed.acks)
        if closed.generation.sequence == self._condemned:
            return commands
        self._marks = closed.marks
        if self._served is None or closed.generation.sequence != self._served.sequence:
            commands += self._serve(closed.generation, now)
        return commands + self._report()

    # Towards the Envoys

    def envoy_connected(self, stream: int) -> list[Command]:
        """An Envoy has opened a stream; what it asks is answered as soon as there is anything."""
        self._envoys[stream] = _Envoy()
        return []

    def envoy_gone(self, stream: int) -> list[Command]:
        """An Envoy's stream has ended."""
        self._envoys.pop(stream, None)
        return self._ask() + self._report()

    def envoy_asked(self, stream: int, request: DeltaDiscoveryRequest, now: float) -> list[Command]:
        """An Envoy has sent a request."""
        envoy = self._envoys[stream]
        if self._served is None:
            envoy.waiting.append(request)
            return []
        if envoy.stream is None:
            envoy.stream = EnvoyStream(self._served, self._secrets)
        outcome = envoy.stream.on_request(request, now)
        commands = self._carry_out(stream, envoy.stream, outcome)
        if request.resource_names_subscribe or request.resource_names_unsubscribe:
            commands += self._ask()
        return commands + self._report()

    def set_secrets(self, secrets: Iterable[Resource]) -> list[Command]:
        """Replace the host's secrets; what changed goes to every Envoy at once."""
        self._secrets = {item.name: item for item in secrets}
        commands: list[Command] = []
        for number, stream in self._streams():
            commands += self._carry_out(number, stream, stream.set_secrets(self._secrets))
        return commands

    def waiting(self) -> dict[int, tuple[int | None, frozenset[str]]]:
        """Give each stream that waits for clusters: its epoch, and what to ask its admin for."""
        return {
            number: (stream.epoch, stream.waits_for())
            for number, stream in self._streams()
            if stream.is_waiting
        }

    def warming(
        self, stream: int, asked: frozenset[str], warming: frozenset[str], now: float
    ) -> list[Command]:
        """An Envoy's admin has said which clusters are warming, after `asked` were accepted."""
        envoy = self._envoys.get(stream)
        if envoy is None or envoy.stream is None:
            return []
        outcome = envoy.stream.warming(asked, warming, now)
        return self._carry_out(stream, envoy.stream, outcome) + self._report()

    def tick(self, now: float) -> list[Command]:
        """Time has passed: patience may have run out somewhere."""
        commands: list[Command] = []
        for number, stream in self._streams():
            commands += self._carry_out(number, stream, stream.tick(now))
        return commands + self._report()

    def retry_unbound(self) -> list[Command]:
        """Try the listeners again that Envoy refused because their address was taken."""
        commands: list[Command] = []
        for number, stream in self._streams():
            commands += self._carry_out(number, stream, stream.retry_unbound())
        return commands

    def fall_back(self, generation: Generation, now: float) -> list[Command]:
        """Serve an older generation, until the control plane sends something new."""
        self._condemned = self._stored_sequence
        self._marks = {}
        return self._serve(generation, now)

    def _serve(self, generation: Generation, now: float) -> list[Command]:
        first = self._served is None
        self._served = generation
        commands: list[Command] = [Served(generation)]
        for number, stream in self._streams():
            commands += self._carry_out(number, stream, stream.serve(generation, now))
        if first:
            for number, envoy in self._envoys.items():
                waiting, envoy.waiting = envoy.waiting, []
                for request in waiting:
                    commands += self.envoy_asked(number, request, now)
        return commands

    def _streams(self) -> list[tuple[int, EnvoyStream]]:
        return [
            (number, envoy.stream)
            for number, envoy in self._envoys.items()
            if envoy.stream is not None
        ]

    def _carry_out(self, number: int, stream: EnvoyStream, outcome: Outcome) -> list[Command]:
        commands: list[Command] = []
        if outcome.responses:
            commands.append(SendEnvoy(number, outcome.responses))
        if outcome.nacked is not None:
            commands += self._rejected(outcome.nacked)
        if outcome.given_up:
            commands.append(GaveUp(stream.epoch, outcome.given_up))
        return commands

    # What is said about them

    def _rejected(self, nacked: Nacked) -> list[Command]:
        if nacked.searching:
            return []
        commands: list[Command] = []
        for name in nacked.names or ("",):
            mark = self._upstream.origin(nacked.type_url, name)
            commands.append(
                Rejected(nacked.type_url, name, mark.version, nacked.detail, mark.stream_id)
            )
        return commands

    def _report(self) -> list[Command]:
        """Say what every Envoy has applied by now and was not said yet."""
        streams = [stream for _, stream in self._streams()]
        if not streams or self._served is None:
            return []
        commands: list[Command] = []
        for type_url, mark in self._marks.items():
            if self._reported.get(type_url) == mark:
                continue
            if all(stream.has_applied(type_url) for stream in streams):
                self._reported[type_url] = mark
                commands.append(Applied(type_url, mark.version, mark.stream_id))
        types = self._served.by_type
        sequence = self._served.sequence
        if sequence != self._good and all(stream.has_applied_all(types) for stream in streams):
            self._good = sequence
            commands.append(Good(self._served))
        return commands

    def _ask(self) -> list[Command]:
        """Want upstream what the Envoys ask for together."""
        together: dict[str, Subscription] = {}
        for _, stream in self._streams():
            for type_url, subscription in stream.asked():
                union = together.setdefault(type_url, Subscription())
                union.names |= subscription.names
                union.wildcard |= subscription.wildcard
        return _upstream(self._upstream.ask(together))


def _upstream(requests: Iterable[DeltaDiscoveryRequest]) -> list[Command]:
    requests = tuple(requests)
    return [SendUpstream(requests)] if requests else []
