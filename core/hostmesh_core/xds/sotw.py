"""One state-of-the-world stream as its server sees it, for third-party clients.

The older variant of the protocol: a request lists all names that are wanted, a response for
clusters and listeners holds all there are, and what is missing from it is gone. Other types may be
sent in part, and have no removal. Follows the xDS protocol description; the rules of ours are those
of `delta`: order, a changed cluster followed by its assignment, a refused resource kept back.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from hostmesh_core import type_urls
from hostmesh_core.xds import order, rejection
from hostmesh_core.xds.reports import Acked, Nacked, TypeStatus
from hostmesh_core.xds.resource import Resource, Resources
from hostmesh_core.xds.subscription import ALWAYS_NAMED, WILDCARD, Subscription
from hostmesh_core.xds.type_state import TypeState

WHOLE = frozenset({type_urls.CLUSTER, type_urls.LISTENER})
"""Types of which every response holds everything: what is not in it is gone."""


@dataclass(frozen=True, slots=True)
class SotwTurn:
    """What one request leads to."""

    responses: tuple[DiscoveryResponse, ...] = ()
    acked: Acked | None = None
    nacked: Nacked | None = None


@dataclass(slots=True)
class _Type(TypeState):
    named: bool = False
    """Names were asked for once: from then on, none means none."""
    held: dict[str, str] = field(default_factory=dict)
    """Name → version that was sent last."""
    good: dict[str, Resource] = field(default_factory=dict)
    """What the client has accepted: stands in for what it refused."""
    last: tuple[Resource, ...] = ()
    nonce: str = ""


class SotwStream:
    """Server-side state of one stream. Not thread-safe; one owner."""

    def __init__(self) -> None:
        """Begin with nothing asked and nothing sent."""
        self._types: dict[str, _Type] = {}
        self._nonces = 0

    def on_request(self, request: DiscoveryRequest, resources: Resources) -> SotwTurn:
        """Take a request: what is wanted from now on, and an answer to the last response."""
        state = self._types.get(request.type_url)
        first = state is None
        state = state or self._types.setdefault(request.type_url, _Type(request.type_url))
        answers = bool(request.response_nonce) and not first
        if answers and request.response_nonce != state.nonce:
            # It crossed a newer response, which the client will answer with all that it wants.
            return SotwTurn()
        acked, nacked = self._acknowledge(state, request) if answers else (None, None)
        added = self._subscribe(state, request.resource_names, resources)
        if not first and not added:
            # A refusal of nothing new (only a removal) is reported, and there is nothing to do.
            again = nacked is not None and nacked.names
            return SotwTurn(
                tuple(self._after_refusal(state, resources)) if again else (), acked, nacked
            )
        return SotwTurn(tuple(self._send(state, added, resources, first=first)), acked, nacked)

    def on_change(
        self, changed: Mapping[str, Collection[str]], resources: Resources
    ) -> list[DiscoveryResponse]:
        """Give what the stream must be told now that these names may have changed."""
        responses: list[DiscoveryResponse] = []
        owed: set[str] = set()
        types = set(changed)
        if type_urls.CLUSTER in changed:
            types.add(type_urls.ENDPOINT)
        for type_url in order.additions(types):
            state = self._types.get(type_url)
            if state is None:
                continue
            names = set(state.subscription.among(changed.get(type_url, ())))
            differ = {name for name in names if self._differs(state, name, resources)}
            if type_url == type_urls.CLUSTER:
                owed = differ
            if type_url == type_urls.ENDPOINT:
                differ |= owed & state.subscription.names
            if differ:
                responses += self._send(state, differ, resources, first=False)
        return responses

    def status(self) -> dict[str, TypeStatus]:
        """Tell where each type stands."""
        return {type_url: state.status() for type_url, state in self._types.items()}

    def _acknowledge(
        self, state: _Type, request: DiscoveryRequest
    ) -> tuple[Acked | None, Nacked | None]:
        sent, state.last = state.last, ()
        version = str(state.count)
        if version == state.acked or (state.nacked and state.nacked.nonce == state.nonce):
            return None, None  # answered before: this one only changes what is wanted
        if not request.HasField("error_detail"):
            state.good.update({item.name: item for item in sent})
            state.acked, state.nacked = version, None
            return Acked(state.type_url, version, state.nonce), None
        detail = request.error_detail.message
        # Where the words name nobody, all that is new in it is kept back: it cannot be sent alone.
        suspects = {item.name for item in sent if state.good.get(item.name) != item}
        bad = rejection.blamed(detail, suspects) or frozenset(suspects)
        for item in sent:
            if item.name in bad:
                state.quarantine[item.name] = item.version
                state.held.pop(item.name, None)
        names = tuple(sorted(bad))
        state.nacked = Nacked(state.type_url, version, state.nonce, names, detail)
        return None, state.nacked

    def _subscribe(self, state: _Type, names: Iterable[str], resources: Resources) -> set[str]:
        """Set what is wanted; give the names that were not wanted before."""
        wanted = set(names)
        before = state.subscription
        state.named = state.named or bool(wanted)
        everything = WILDCARD in wanted or (not state.named and state.type_url not in ALWAYS_NAMED)
        state.subscription = Subscription()
        state.subscription.add(wanted | ({WILDCARD} if everything else set()))
        for name in [name for name in state.held if not state.subscription.covers(name)]:
            del state.held[name]
            state.good.pop(name, None)
        added = {name for name in state.subscription.names if not before.covers(name)}
        if everything and not before.wildcard:
            added.update(resources.names(state.type_url))
        return added

    def _differs(self, state: _Type, name: str, resources: Resources) -> bool:
        resource = resources.get(state.type_url, name)
        if resource is None:
            return state.type_url in WHOLE and name in state.held
        if state.quarantine.get(name) == resource.version:
            return False
        return state.held.get(name) != resource.version

    def _after_refusal(self, state: _Type, resources: Resources) -> list[DiscoveryResponse]:
        """Send the rest again: the client may have stopped at the bad one."""
        names = set(state.subscription.among(list(resources.names(state.type_url))))
        rest = {name for name in names if name not in state.quarantine}
        return self._send(state, rest, resources, first=False) if rest else []

    def _send(
        self, state: _Type, names: Collection[str], resources: Resources, *, first: bool
    ) -> list[DiscoveryResponse]:
        whole = state.type_url in WHOLE
        if whole or (first and state.subscription.wildcard):
            names = state.subscription.among(
                [*resources.names(state.type_url), *state.subscription.names]
            )
        found = [
            item
            for name in sorted(set(names))
            if (item := self._shown(state, name, resources)) is not None
        ]
        if not found and not whole and not (first and state.subscription.wildcard):
            return []
        return [self._response(state, found, whole=whole)]

    def _shown(self, state: _Type, name: str, resources: Resources) -> Resource | None:
        resource = resources.get(state.type_url, name)
        if resource is None:
            return None
        if state.quarantine.get(name) == resource.version:
            return state.good.get(name)
        state.quarantine.pop(name, None)
        return resource

    def _response(self, state: _Type, found: list[Resource], *, whole: bool) -> DiscoveryResponse:
        state.count += 1
        self._nonces += 1
        state.nonce = str(self._nonces)
        state.last = tuple(found)
        versions = {item.name: item.version for item in found}
        state.held = versions if whole else state.held | versions
        response = DiscoveryResponse(
            type_url=state.type_url, version_info=str(state.count), nonce=state.nonce
        )
        for item in found:
            packed = response.resources.add()
            packed.type_url, packed.value = item.type_url, item.body
        return response
