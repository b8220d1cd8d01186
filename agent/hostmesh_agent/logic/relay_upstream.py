"""The relay's side towards the control plane: subscribes by itself and knows when it has all.

Envoy's own requests come too late and from too many Envoys: the relay wants all clusters and
listeners, then what these refer to, then what Envoy asked for beside that. What has arrived makes
a generation as soon as it is closed, that is, refers to nothing that has not been answered.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_core.type_urls import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE, SECRET
from hostmesh_core.xds import references
from hostmesh_core.xds.client import DeltaClient, Update
from hostmesh_core.xds.references import References, Unreadable
from hostmesh_core.xds.resource import Resource, resource
from hostmesh_core.xds.store import Generation
from hostmesh_core.xds.subscription import Subscription

_ROOTS = (CLUSTER, LISTENER)
_NAMED = (ENDPOINT, ROUTE, EXTENSION_CONFIG)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a generation is along one type of one upstream stream."""

    version: str
    """`system_version_info` of the last response in it."""
    stream_id: str


Marks = Mapping[str, Mark]


@dataclass(frozen=True, slots=True)
class Closed:
    """A generation, and what may be said upstream once it is stored."""

    generation: Generation
    marks: Marks
    acks: tuple[DeltaDiscoveryRequest, ...]


@dataclass(slots=True)
class _Arrivals:
    """What the open stream has brought so far."""

    stream_id: str = ""
    marks: dict[str, Mark] = field(default_factory=dict)
    origin: dict[tuple[str, str], str] = field(default_factory=dict)
    acks: list[DeltaDiscoveryRequest] = field(default_factory=list)


class Upstream:
    """State of the subscription, over any number of connections one after the other."""

    def __init__(self, node: Node, restored: Generation | None = None) -> None:
        """Begin with what is stored: `restored` is closed and counts as held."""
        self._client = DeltaClient(node)
        self._references: dict[tuple[str, str], References] = {}
        self._wanted: dict[str, frozenset[str]] = {}
        self._asked: dict[str, Subscription] = {}
        self._arrivals = _Arrivals()
        self._touched: set[str] = set()
        self._generation = restored or Generation()
        if restored is not None:
            self._client.restore(restored)
            for type_url in _ROOTS:
                for item in self._client.held(type_url).values():
                    self._references[type_url, item.name] = references.of(item)
        self._want()

    def connect(self, stream_id: str) -> list[DeltaDiscoveryRequest]:
        """Begin a new stream, which the control plane calls `stream_id`."""
        self._arrivals = _Arrivals(stream_id)
        return self._client.connect()

    def disconnect(self) -> None:
        """Note that there is no stream."""
        self._arrivals = _Arrivals()
        self._client.disconnect()

    def receive(self, response: DeltaDiscoveryResponse) -> list[DeltaDiscoveryRequest]:
        """Take a response; give what to ask for next. `close` tells whether that was all.

        A response with bytes that cannot be read is refused as a whole: what cannot be read here
        cannot be ordered, and Envoy would refuse it too.
        """
        try:
            found = _references(response)
        except Unreadable as error:
            refused = Update(response.type_url, "", response.nonce, (), ())
            return [refused.nack(str(error))]
        update = self._client.receive(response)
        arrivals = self._arrivals
        arrivals.marks[update.type_url] = Mark(update.version, arrivals.stream_id)
        arrivals.acks.append(update.ack())
        for item in update.changed:
            arrivals.origin[item.type_url, item.name] = update.version
        for name in update.removed:
            arrivals.origin.pop((update.type_url, name), None)
        if update.changed or update.removed:
            self._touched.add(update.type_url)
        if update.type_url not in _ROOTS:
            return []
        self._references.update(
            {(update.type_url, item.name): found[item.name] for item in update.changed}
        )
        for name in update.removed:
            self._references.pop((update.type_url, name), None)
        return self._want()

    def ask(self, asked: Mapping[str, Subscription]) -> list[DeltaDiscoveryRequest]:
        """Set what the Envoys ask for, all together; secrets stay on this host."""
        self._asked = {key: value for key, value in asked.items() if key != SECRET}
        return self._want()

    def close(self) -> Closed | None:
        """Give what has arrived as a generation, or None while something is still to come.

        What Envoy asked for by itself is not waited for: nothing refers to it.
        """
        if not all(self._client.answered(type_url) for type_url in _ROOTS) or self.waits_for():
            return None
        if self._touched:
            by_type = dict(self._generation.by_type)
            for type_url in self._touched:
                by_type[type_url] = dict(self._client.held(type_url))
            absent = frozenset(self._client.absent())
            changed = Generation(by_type, absent, self._generation.sequence + 1)
            self._touched.clear()
            if (changed.by_type, absent) != (self._generation.by_type, self._generation.absent):
                self._generation = changed
        acks = tuple(self._arrivals.acks)
        self._arrivals.acks.clear()
        return Closed(self._generation, dict(self._arrivals.marks), acks)

    def waits_for(self) -> frozenset[tuple[str, str]]:
        """Give type and name of what is referred to and not answered yet."""
        return frozenset(
            (type_url, name)
            for type_url, names in self._wanted.items()
            for name in names - self._client.held(type_url).keys()
        ).difference(self._client.absent())

    def origin(self, type_url: str, name: str) -> Mark:
        """Tell with which response of the open stream a resource came; else the type's last."""
        mark = self._arrivals.marks.get(type_url, Mark("", self._arrivals.stream_id))
        version = self._arrivals.origin.get((type_url, name), mark.version)
        return Mark(version, mark.stream_id)

    def _want(self) -> list[DeltaDiscoveryRequest]:
        """Bring the subscriptions up to what is referred to and asked for."""
        wanted: dict[str, set[str]] = {type_url: set() for type_url in _NAMED}
        for found in self._references.values():
            for type_url, names in found.by_type():
                wanted[type_url].update(names)
        self._wanted = {type_url: frozenset(names) for type_url, names in wanted.items()}
        requests = []
        for type_url in dict.fromkeys((*_ROOTS, *_NAMED, *self._asked, *self._client.types())):
            asked = self._asked.get(type_url, Subscription())
            names = self._wanted.get(type_url, frozenset()) | asked.names
            wildcard = type_url in _ROOTS or asked.wildcard
            if dropped := self._client.held(type_url).keys() - names:
                self._touched.update([type_url] if dropped and not wildcard else [])
            requests += self._client.want(type_url, names, wildcard=wildcard)
        return requests


def _references(response: DeltaDiscoveryResponse) -> dict[str, References]:
    if response.type_url not in _ROOTS:
        return {}
    found = {}
    for envelope in response.resources:
        item: Resource = resource(response.type_url, envelope.name, envelope.resource.value)
        found[envelope.name] = references.of(item)
    return found
