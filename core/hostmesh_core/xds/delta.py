"""One delta stream as its server sees it: what the client asked for, holds, and acknowledged.

Used by the control plane towards agents and by the relay towards Envoy. Pure: requests and changes
in, responses out. Follows the xDS protocol description (incremental xDS, and how the client
specifies what resources to return), with three rules of our own from measurements on Envoy 1.40:

- A changed Cluster is followed at once by its ClusterLoadAssignment, even by an unchanged one;
  otherwise the cluster warms for 15 s and the ACK of CDS comes as late.
- Extension configs travel one per response: a bad one stops those beside it.
- A refused resource is kept back from this stream until it changes; the rest goes on.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_core import type_urls
from hostmesh_core.xds import order, rejection
from hostmesh_core.xds.reports import Acked, Nacked, TypeStatus
from hostmesh_core.xds.resource import Resource, Resources
from hostmesh_core.xds.subscription import WILDCARD, Subscription, is_legacy_wildcard
from hostmesh_core.xds.type_state import TypeState

__all__ = ["Acked", "DeltaStream", "Nacked", "Turn", "TypeStatus"]

MAX_RESPONSE_BYTES = 1024 * 1024
"""A response is split beyond this; one resource larger than it travels alone."""

_PER_RESOURCE = 128
"""Bytes that a resource's envelope takes, its name apart: generous."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one request leads to."""

    responses: tuple[DeltaDiscoveryResponse, ...] = ()
    acked: Acked | None = None
    nacked: Nacked | None = None


@dataclass(frozen=True, slots=True)
class _Sent:
    version: str
    before: tuple[tuple[Resource, str | None, bool], ...]
    """Each resource with what the client held of that name: (version or told absent, held)."""


@dataclass(slots=True)
class _Type(TypeState):
    held: dict[str, str | None] = field(default_factory=dict)
    """Name → version that the client has once all in flight is accepted; None = told absent."""
    in_flight: dict[str, _Sent] = field(default_factory=dict)
    alone: set[str] = field(default_factory=set)
    """Suspects of a refusal that named nobody: each travels in a response of its own."""


def _is_absent(_type_url: str, _name: str) -> bool:
    return True


def _is_withheld(_type_url: str, _name: str) -> bool:
    return False


def _same_name(cluster: Resource) -> str:
    return cluster.name


class DeltaStream:
    """Server-side state of one delta stream. Not thread-safe; one owner."""

    def __init__(
        self,
        *,
        is_absent: Callable[[str, str], bool] = _is_absent,
        is_withheld: Callable[[str, str], bool] = _is_withheld,
        assignment_of: Callable[[Resource], str] = _same_name,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        """Begin with nothing asked and nothing sent.

        `is_absent(type, name)` says whether a named resource that there is none of is known not
        to exist; if not, the stream stays silent about it until there is one. `is_withheld` says
        that nothing is to be said of a name for now, whatever it has become. `assignment_of` names
        the load assignment of a Cluster resource.
        """
        self._is_absent = is_absent
        self._is_withheld = is_withheld
        self._assignment_of = assignment_of
        self._max_bytes = max_bytes
        self._types: dict[str, _Type] = {}
        self._owed: set[str] = set()
        self._nonces = 0

    def on_request(self, request: DeltaDiscoveryRequest, resources: Resources) -> Turn:
        """Take a request: an answer to a response, a change of what is wanted, or both."""
        first = request.type_url not in self._types
        state = self._types.setdefault(request.type_url, _Type(request.type_url))
        acked, nacked, again = self._acknowledge(state, request)
        candidates, forced = self._subscribe(state, request, resources, first=first)
        candidates |= again
        responses = self._send(state, candidates, forced, resources)
        if first and state.subscription.wildcard and not responses:
            # Whoever asks for everything waits for an answer, even where there is nothing (new).
            responses = [self._response(state, (), ())]
        return Turn(tuple(responses), acked, nacked)

    def on_change(
        self, changed: Mapping[str, Collection[str]], resources: Resources
    ) -> list[DeltaDiscoveryResponse]:
        """Give what the stream must be told now that these names may have changed."""
        types = {type_url for type_url in changed if self._touches(type_url, changed[type_url])}
        if not types:
            return []  # most changes, for most streams
        if type_urls.CLUSTER in types and type_urls.ENDPOINT in self._types:
            types.add(type_urls.ENDPOINT)
        responses: list[DeltaDiscoveryResponse] = []
        gone: dict[str, list[str]] = {}
        for type_url in order.additions(types):
            state = self._types[type_url]
            names = set(state.subscription.among(changed.get(type_url, ())))
            forced = self._owed_now(state)
            added, gone[type_url] = self._pending(state, names | forced, forced, resources)
            responses += self._additions(state, added)
        for type_url in order.removals(gone):
            if gone[type_url]:
                responses.append(self._removal(self._types[type_url], gone[type_url]))
        return responses

    def retry(
        self, type_url: str, names: Collection[str], resources: Resources
    ) -> list[DeltaDiscoveryResponse]:
        """Send again what was refused, although it has not changed: the reason may have gone."""
        for name in names:
            self._types[type_url].quarantine.pop(name, None)
        return self.on_change({type_url: names}, resources)

    def status(self) -> dict[str, TypeStatus]:
        """Tell where each type stands."""
        return {type_url: state.status() for type_url, state in self._types.items()}

    def in_flight(self, type_url: str) -> bool:
        """Tell whether a response of this type waits for its answer."""
        state = self._types.get(type_url)
        return state is not None and bool(state.in_flight)

    def held(self, type_url: str, name: str) -> str | None:
        """Give the version that the client was sent last, or None."""
        state = self._types.get(type_url)
        return None if state is None else state.held.get(name)

    def subscription(self, type_url: str) -> Subscription | None:
        """Give what was asked of this type, or None where nothing ever was. Not to be changed."""
        state = self._types.get(type_url)
        return None if state is None else state.subscription

    def asked(self) -> Iterator[tuple[str, Subscription]]:
        """Give every type that was ever asked for."""
        return ((type_url, state.subscription) for type_url, state in self._types.items())

    # What the client says

    def _acknowledge(
        self, state: _Type, request: DeltaDiscoveryRequest
    ) -> tuple[Acked | None, Nacked | None, set[str]]:
        nonce = request.response_nonce
        if nonce not in state.in_flight:
            return None, None, set()
        sent = state.in_flight[nonce]
        # Answers come in order: what was sent before this one needs none any more.
        for earlier in list(state.in_flight):
            del state.in_flight[earlier]
            if earlier == nonce:
                break
        if request.HasField("error_detail"):
            return self._refused(state, sent, nonce, request.error_detail.message)
        state.alone.difference_update(resource.name for resource, _, _ in sent.before)
        state.acked = sent.version
        state.nacked = None
        return Acked(state.type_url, sent.version, nonce), None, set()

    def _refused(
        self, state: _Type, sent: _Sent, nonce: str, detail: str
    ) -> tuple[None, Nacked, set[str]]:
        names = {resource.name for resource, _, _ in sent.before}
        bad = rejection.blamed(detail, names)
        again: set[str] = set()
        for resource, before, held in sent.before:
            name = resource.name
            if state.held.get(name) != resource.version:
                continue  # something newer of this name is on its way
            if held:
                state.held[name] = before
            else:
                state.held.pop(name, None)
            if name in bad:
                state.quarantine[name] = resource.version
                state.alone.discard(name)
            else:
                again.add(name)
        if not bad:
            state.alone |= again
        searching = not bad and bool(again)
        state.nacked = Nacked(
            state.type_url, sent.version, nonce, tuple(sorted(bad)), detail, searching
        )
        return None, state.nacked, again

    def _subscribe(
        self,
        state: _Type,
        request: DeltaDiscoveryRequest,
        resources: Resources,
        *,
        first: bool,
    ) -> tuple[set[str], set[str]]:
        """Apply the wishes. Gives the names to look at, and those to send whatever is held."""
        asked = list(request.resource_names_subscribe)
        dropped = list(request.resource_names_unsubscribe)
        subscription = state.subscription
        was_wildcard = subscription.wildcard
        subscription.remove(dropped)
        subscription.add(asked)
        if is_legacy_wildcard(state.type_url, first=first, asked=bool(asked)):
            subscription.wildcard = True
        if first:
            state.held.update(request.initial_resource_versions)
        if first or dropped:
            for name in [name for name in state.held if not subscription.covers(name)]:
                del state.held[name]
                state.quarantine.pop(name, None)
        named = {name for name in asked if name != WILDCARD}
        candidates = set(named)
        forced = set() if first else set(named)
        if subscription.wildcard:
            # A name given up under the wildcard is told again: it may or may not belong to it.
            forced.update(name for name in dropped if name != WILDCARD)
            candidates |= forced
        if subscription.wildcard and not was_wildcard:
            candidates.update(resources.names(state.type_url), state.held)
        return candidates, forced

    # What the client is told

    def _touches(self, type_url: str, names: Collection[str]) -> bool:
        state = self._types.get(type_url)
        if state is None:
            return False
        return state.subscription.wildcard or not state.subscription.names.isdisjoint(names)

    def _send(
        self, state: _Type, names: set[str], forced: set[str], resources: Resources
    ) -> list[DeltaDiscoveryResponse]:
        if state.type_url == type_urls.ENDPOINT:
            forced = forced | (self._owed & names)
        added, gone = self._pending(state, names, forced, resources)
        responses = self._additions(state, added)
        endpoints = self._types.get(type_urls.ENDPOINT)
        if state.type_url == type_urls.CLUSTER and endpoints is not None:
            owed = self._owed_now(endpoints)
            assignments, _ = self._pending(endpoints, owed, owed, resources)
            responses += self._additions(endpoints, assignments)
        if gone:
            responses.append(self._removal(state, gone))
        return responses

    def _pending(
        self, state: _Type, names: Iterable[str], forced: Collection[str], resources: Resources
    ) -> tuple[list[Resource], list[str]]:
        """Sort out which of the names are to be sent, and which are to be told gone."""
        added: list[Resource] = []
        gone: list[str] = []
        for name in sorted(names):
            if self._is_withheld(state.type_url, name):
                continue
            resource = resources.get(state.type_url, name)
            if resource is None:
                if self._to_be_told_gone(state, name, forced):
                    gone.append(name)
            elif state.quarantine.get(name) != resource.version:
                state.quarantine.pop(name, None)
                if name in forced or state.held.get(name) != resource.version:
                    added.append(resource)
        return added, gone

    def _to_be_told_gone(self, state: _Type, name: str, forced: Collection[str]) -> bool:
        if name in state.subscription.names:
            told = name in state.held and state.held[name] is None
            return (name in forced or not told) and self._is_absent(state.type_url, name)
        return name in state.held

    def _owed_now(self, state: _Type) -> set[str]:
        if state.type_url != type_urls.ENDPOINT:
            return set()
        return {name for name in self._owed if state.subscription.covers(name)}

    def _additions(self, state: _Type, added: list[Resource]) -> list[DeltaDiscoveryResponse]:
        return [self._response(state, batch, ()) for batch in self._batches(state, added)]

    def _batches(self, state: _Type, added: list[Resource]) -> Iterator[list[Resource]]:
        batch: list[Resource] = []
        size = 0
        for resource in added:
            weight = len(resource.body) + len(resource.name) + _PER_RESOURCE
            single = state.type_url == type_urls.EXTENSION_CONFIG or resource.name in state.alone
            if batch and (single or size + weight > self._max_bytes):
                yield batch
                batch, size = [], 0
            batch.append(resource)
            size = self._max_bytes if single else size + weight
        if batch:
            yield batch

    def _removal(self, state: _Type, gone: list[str]) -> DeltaDiscoveryResponse:
        return self._response(state, (), gone)

    def _response(
        self, state: _Type, added: Iterable[Resource], gone: Iterable[str]
    ) -> DeltaDiscoveryResponse:
        state.count += 1
        self._nonces += 1
        response = DeltaDiscoveryResponse(
            type_url=state.type_url, system_version_info=str(state.count), nonce=str(self._nonces)
        )
        before = []
        for resource in added:
            name = resource.name
            before.append((resource, state.held.get(name), name in state.held))
            state.held[name] = resource.version
            self._note_order(state, resource)
            envelope = response.resources.add(name=name, version=resource.version)
            envelope.resource.type_url = resource.type_url
            envelope.resource.value = resource.body
        for name in gone:
            self._tell_gone(state, name, response)
        state.in_flight[response.nonce] = _Sent(response.system_version_info, tuple(before))
        return response

    def _tell_gone(self, state: _Type, name: str, response: DeltaDiscoveryResponse) -> None:
        had = state.held.get(name) is not None
        if state.type_url == type_urls.VIRTUAL_HOST and not had:
            # Envoy waits for ever for a host that it asked for, unless an empty one answers.
            response.resources.add(name=name, aliases=[name])
        else:
            response.removed_resources.append(name)
        state.quarantine.pop(name, None)
        if name in state.subscription.names:
            state.held[name] = None
        else:
            state.held.pop(name, None)
        if state.type_url in (type_urls.CLUSTER, type_urls.ENDPOINT):
            self._owed.discard(name)

    def _note_order(self, state: _Type, resource: Resource) -> None:
        if state.type_url == type_urls.CLUSTER:
            self._owed.add(self._assignment_of(resource))
        elif state.type_url == type_urls.ENDPOINT:
            self._owed.discard(resource.name)
