"""One delta stream as its client sees it: what it wants, what it has, what it has to answer.

The relay's upstream. It outlives connections: what it has goes with the first request of each type
as `initial_resource_versions`, so that a reconnect costs the bytes of what has changed meanwhile.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_core.xds import order
from hostmesh_core.xds.resource import Resource
from hostmesh_core.xds.subscription import WILDCARD, Subscription

_INVALID_ARGUMENT = 3


@dataclass(frozen=True, slots=True)
class Update:
    """What one response said of the things that this client still wants."""

    type_url: str
    version: str
    """Its `system_version_info`."""
    nonce: str
    changed: tuple[Resource, ...]
    removed: tuple[str, ...]
    """Names that are gone, or were asked for and do not exist."""

    def ack(self) -> DeltaDiscoveryRequest:
        """Build the acceptance."""
        return DeltaDiscoveryRequest(type_url=self.type_url, response_nonce=self.nonce)

    def nack(self, detail: str) -> DeltaDiscoveryRequest:
        """Build the refusal with its reason."""
        request = self.ack()
        request.error_detail.code = _INVALID_ARGUMENT
        request.error_detail.message = detail
        return request


@dataclass(slots=True)
class _Type:
    subscription: Subscription = field(default_factory=Subscription)
    held: dict[str, Resource] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    answered: bool = False
    """A response of this type has come, on this or an earlier connection."""


class DeltaClient:
    """Client-side state. `connect` begins a stream; requests of `want` belong to the open one."""

    def __init__(self, node: Node | None = None) -> None:
        """Begin with nothing wanted and nothing held."""
        self._node = node or Node()
        self._types: dict[str, _Type] = {}
        self._connected = False

    def want(
        self, type_url: str, names: Collection[str], *, wildcard: bool = False
    ) -> list[DeltaDiscoveryRequest]:
        """Set all that is wanted of a type; give the request that says so on the open stream."""
        state = self._types.setdefault(type_url, _Type())
        subscription = state.subscription
        wanted = set(names) | ({WILDCARD} if wildcard else set())
        had = subscription.names | ({WILDCARD} if subscription.wildcard else set())
        added, dropped = wanted - had, had - wanted
        if not added and not dropped:
            return []
        first = not had
        subscription.add(added)
        subscription.remove(dropped)
        self._forget(state)
        if not self._connected:
            return []
        request = DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=sorted(added),
            resource_names_unsubscribe=sorted(dropped),
        )
        if first:
            self._tell_held(state, request)
        return [request]

    def connect(self) -> list[DeltaDiscoveryRequest]:
        """Begin a new stream: give the first request of every type, the node with the first."""
        self._connected = True
        requests = []
        for type_url in order.additions(self._types):
            state = self._types[type_url]
            subscription = state.subscription
            names = sorted(subscription.names)
            if subscription.wildcard:
                names.insert(0, WILDCARD)
            if names:
                request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names)
                self._tell_held(state, request)
                requests.append(request)
        if requests:
            requests[0].node.CopyFrom(self._node)
        return requests

    def disconnect(self) -> None:
        """Note that the stream has ended; what is held stays."""
        self._connected = False

    def receive(self, response: DeltaDiscoveryResponse) -> Update:
        """Take a response into what is held. Names that are not wanted any more are passed over."""
        state = self._types.setdefault(response.type_url, _Type())
        covers = state.subscription.covers
        state.answered = True
        changed = []
        removed = [name for name in response.removed_resources if covers(name)]
        for envelope in response.resources:
            if not covers(envelope.name):
                continue
            if not envelope.HasField("resource"):
                removed.append(envelope.name)  # a virtual host that does not exist
                continue
            body = envelope.resource.value
            resource = Resource(response.type_url, envelope.name, envelope.version, body)
            changed.append(resource)
            state.held[resource.name] = resource
            state.absent.discard(resource.name)
        for name in removed:
            state.held.pop(name, None)
            if name in state.subscription.names:
                state.absent.add(name)
        return Update(
            response.type_url,
            response.system_version_info,
            response.nonce,
            tuple(changed),
            tuple(removed),
        )

    def restore(self, resources: Iterable[Resource]) -> None:
        """Take over what an earlier run has kept; later `want`s decide what of it stays wanted."""
        for resource in resources:
            state = self._types.setdefault(resource.type_url, _Type())
            state.held[resource.name] = resource
            state.answered = True

    def held(self, type_url: str) -> dict[str, Resource]:
        """Give what is held of a type. Not to be changed."""
        state = self._types.get(type_url)
        return {} if state is None else state.held

    def absent(self) -> Iterable[tuple[str, str]]:
        """Give type and name of all that was answered as not existing."""
        for type_url, state in self._types.items():
            for name in state.absent:
                yield type_url, name

    def types(self) -> list[str]:
        """Give the types that anything is wanted or held of."""
        return list(self._types)

    def answered(self, type_url: str) -> bool:
        """Tell whether anything was ever said of this type, on disk counts."""
        state = self._types.get(type_url)
        return state is not None and state.answered

    def _forget(self, state: _Type) -> None:
        covers = state.subscription.covers
        state.held = {name: item for name, item in state.held.items() if covers(name)}
        state.absent &= state.subscription.names

    def _tell_held(self, state: _Type, request: DeltaDiscoveryRequest) -> None:
        for name, resource in state.held.items():
            if state.subscription.covers(name):
                request.initial_resource_versions[name] = resource.version
