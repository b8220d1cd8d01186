"""The relay's side towards one Envoy: what it may see by now, and what it made of it.

Make before break. A route or listener that newly refers to clusters is shown when those clusters
are active in this Envoy; until then it sees the older one, and nothing goes away. Accepted is not
active: Envoy accepts a cluster while it waits for its secret, and a route to it answers 503.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_core.names import EPOCH_METADATA
from hostmesh_core.type_urls import (
    CLUSTER,
    ENDPOINT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE,
    SECRET,
    VIRTUAL_HOST,
)
from hostmesh_core.xds import references, store
from hostmesh_core.xds.delta import DeltaStream
from hostmesh_core.xds.reports import Nacked
from hostmesh_core.xds.resource import Resource
from hostmesh_core.xds.store import Generation
from hostmesh_core.xds.subscription import Subscription

PATIENCE_SECONDS = 5.0
"""How long a route waits for its clusters; then it is shown all the same, and that is reported."""

_TAKEN_ADDRESS = ("cannot bind", "Address already in use")
"""Envoy's words when a listener is refused because something else has its address."""

_REFERRING = (LISTENER, ROUTE, VIRTUAL_HOST)
_PARENTS = {
    ENDPOINT: (CLUSTER,),
    ROUTE: (LISTENER,),
    EXTENSION_CONFIG: (LISTENER,),
    VIRTUAL_HOST: (LISTENER, ROUTE),
}
"""What Envoy must have taken before it even asks for the rest."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step with one Envoy leads to."""

    responses: tuple[DeltaDiscoveryResponse, ...] = ()
    nacked: Nacked | None = None
    given_up: tuple[str, ...] = ()
    """Clusters that did not become active in time: what refers to them is shown all the same."""


@dataclass(slots=True)
class _Visible:
    """What this Envoy sees: the target, but for what is held back, and the host's secrets."""

    target: Generation
    secrets: Mapping[str, Resource]
    instead: dict[Key, Resource | None] = field(default_factory=dict)
    """What is seen instead of the target's: an older resource, or nothing yet."""
    unknown: set[Key] = field(default_factory=set)
    """What Envoy has from before this stream, in a version that is not the target's: nothing is
    said of it for now, so that it keeps that."""

    def get(self, type_url: str, name: str) -> Resource | None:
        if type_url == SECRET:
            return self.secrets.get(name)
        if (type_url, name) in self.instead:
            return self.instead[type_url, name]
        return self.target.get(type_url, name)

    def names(self, type_url: str) -> Iterable[str]:
        if type_url == SECRET:
            return list(self.secrets)
        more = (name for kind, name in self.instead if kind == type_url)
        return dict.fromkeys((*self.target.names(type_url), *more))

    def is_absent(self, type_url: str, name: str) -> bool:
        """A secret that is not there yet will come: its Envoy waits, and is not told no."""
        return type_url != SECRET and (type_url, name) in self.target.absent

    def is_withheld(self, type_url: str, name: str) -> bool:
        """Tell whether Envoy is to keep what it has, whatever that is."""
        return (type_url, name) in self.unknown


@lru_cache(maxsize=512)
def clusters_of(resource: Resource) -> frozenset[str]:
    """Give the clusters that a route or listener refers to."""
    return references.of(resource).clusters


def assignment_of(cluster: Resource) -> str:
    """Give the name of a cluster's load assignment."""
    return next(iter(references.of(cluster).assignments), cluster.name)


class EnvoyStream:
    """One Envoy's stream. `now` is in seconds on any clock that only goes forward."""

    def __init__(self, target: Generation, secrets: Mapping[str, Resource]) -> None:
        """Begin with a generation to serve and the host's secrets by name."""
        self.epoch: int | None = None
        self._visible = _Visible(target, secrets)
        self._delta = DeltaStream(
            is_absent=self._visible.is_absent,
            is_withheld=self._visible.is_withheld,
            assignment_of=assignment_of,
        )
        self._began: float | None = None
        self._active: set[str] = set()
        self._since: dict[str, float] = {}
        self._unbound: dict[str, str] = {}

    def on_request(self, request: DeltaDiscoveryRequest, now: float) -> Outcome:
        """Take a request of Envoy."""
        if request.HasField("node"):
            self.epoch = int(request.node.metadata.fields[EPOCH_METADATA].number_value)
        self._began = now if self._began is None else self._began
        if self._delta.subscription(request.type_url) is None:
            self._begin_type(request)
        turn = self._delta.on_request(request, self._visible)
        if turn.acked is not None and request.type_url == LISTENER:
            refused = self._delta.status()[LISTENER].quarantined
            self._unbound = {name: self._unbound[name] for name in refused if name in self._unbound}
        nacked = turn.nacked and self._note_unbound(turn.nacked)
        responses, given_up = self._release(now)
        return Outcome((*turn.responses, *responses), nacked, given_up)

    def serve(self, target: Generation, now: float) -> Outcome:
        """Lead this Envoy to another generation."""
        before = self._visible.target
        changed = store.changed(before, target)
        self._visible.target = target
        for type_url, names in changed.items():
            for name in names:
                self._hold_back((type_url, name), before)
        return self._tell(changed, now)

    def set_secrets(self, secrets: Mapping[str, Resource]) -> Outcome:
        """Replace the host's secrets. One that is gone is not taken from Envoy: it serves on."""
        self._visible.secrets = secrets
        return Outcome(tuple(self._delta.on_change({SECRET: set(secrets)}, self._visible)))

    def waits_for(self) -> frozenset[str]:
        """Give the clusters that Envoy has accepted and that something waits for: ask its admin
        which clusters are warming, then say so with `warming`.
        """
        if self._delta.in_flight(CLUSTER):
            return frozenset()
        return frozenset(self._since)

    @property
    def is_waiting(self) -> bool:
        """Whether anything is held back: call `tick` from time to time."""
        return bool(self._since or self._visible.unknown)

    def warming(self, asked: frozenset[str], warming: frozenset[str], now: float) -> Outcome:
        """Take the admin's answer; `asked` is what `waits_for` gave before it was asked."""
        self._active |= asked - warming
        return self._tell({}, now)

    def tick(self, now: float) -> Outcome:
        """Look whether patience has run out."""
        return self._tell({}, now)

    def retry_unbound(self) -> Outcome:
        """Send again the listeners whose address was taken: by now it may be free."""
        names = set(self._unbound)
        if not names:
            return Outcome()
        return Outcome(tuple(self._delta.retry(LISTENER, names, self._visible)))

    def asked(self) -> Iterable[tuple[str, Subscription]]:
        """Give what this Envoy asks for, by type."""
        return self._delta.asked()

    def has_applied(self, type_url: str) -> bool:
        """Tell whether Envoy has taken all of the target's resources of this type.

        What it refused counts as taken: its refusal is reported apart.
        """
        for parent in _PARENTS.get(type_url, ()):
            if not self.has_applied(parent):
                return False
        if type_url in (CLUSTER, LISTENER) and self._delta.subscription(type_url) is None:
            return False
        held_back = any(
            kind == type_url for kind, _ in (*self._visible.instead, *self._visible.unknown)
        )
        return not held_back and not self._delta.in_flight(type_url)

    def has_applied_all(self, types: Iterable[str]) -> bool:
        """Tell whether Envoy runs on the target: everything taken, nothing refused or warming."""
        refused = any(status.quarantined for status in self._delta.status().values())
        return not refused and not self._since and all(map(self.has_applied, types))

    def _note_unbound(self, nacked: Nacked) -> Nacked | None:
        """Remember a listener whose address is taken; a refusal that is no news is not reported."""
        taken = any(words in nacked.detail for words in _TAKEN_ADDRESS)
        if nacked.type_url != LISTENER or not taken or not nacked.names:
            return nacked
        known = all(self._unbound.get(name) == nacked.detail for name in nacked.names)
        self._unbound.update(dict.fromkeys(nacked.names, nacked.detail))
        return None if known else nacked

    # Holding back and releasing

    def _begin_type(self, request: DeltaDiscoveryRequest) -> None:
        held = request.initial_resource_versions
        if request.type_url == LISTENER and not held:
            # A new Envoy asks for listeners when its first clusters are warm.
            self._active.update(self._sent_clusters())
        # Else the relay came back and Envoy never went. What of its clusters is warming, its admin
        # has to say, before it is led to them; and it may still be led to one that is gone.
        target = self._visible.target
        for name, version in held.items():
            comes = target.get(request.type_url, name)
            gone = comes is None and request.type_url == CLUSTER
            other = comes is not None and comes.version != version
            if gone or (other and request.type_url in _REFERRING):
                self._visible.unknown.add((request.type_url, name))

    def _sent_clusters(self) -> list[str]:
        names = self._visible.target.names(CLUSTER)
        return [name for name in names if self._delta.held(CLUSTER, name) is not None]

    def _hold_back(self, key: Key, before: Generation) -> None:
        """Keep showing what was seen so far; `_release` lets go of it when it may."""
        if key in self._visible.unknown:
            return
        instead = self._visible.instead
        shown = instead[key] if key in instead else before.get(*key)
        comes = self._visible.target.get(*key)
        if key[0] in _REFERRING or comes is None:
            instead[key] = shown
        else:
            instead.pop(key, None)
        if comes is None and shown is None:
            instead.pop(key, None)

    def _tell(self, changed: Mapping[str, set[str]], now: float) -> Outcome:
        told = {type_url: set(names) for type_url, names in changed.items()}
        released, given_up = self._let_go(now)
        for type_url, name in released:
            told.setdefault(type_url, set()).add(name)
        if not told:
            return Outcome(given_up=given_up)
        return Outcome(tuple(self._delta.on_change(told, self._visible)), given_up=given_up)

    def _release(self, now: float) -> tuple[tuple[DeltaDiscoveryResponse, ...], tuple[str, ...]]:
        outcome = self._tell({}, now)
        return outcome.responses, outcome.given_up

    def _let_go(self, now: float) -> tuple[list[Key], tuple[str, ...]]:
        """Stop holding back what has no reason any more; removals only when nothing else waits."""
        visible = self._visible
        released: list[Key] = []
        given_up: set[str] = set()
        waiting: set[str] = set()
        removals = []
        for key in (*visible.instead, *visible.unknown):
            comes = visible.target.get(*key)
            if comes is None:
                removals.append(key)
                continue
            missing = self._missing(comes)
            late = {
                name
                for name in missing
                if now - self._since.setdefault(name, now) >= PATIENCE_SECONDS
            }
            given_up |= late
            if missing - late:
                waiting |= missing - late
            else:
                released.append(key)
        self._active |= given_up
        self._since = {name: self._since[name] for name in waiting}
        if not waiting and self._has_come_back(now):
            released += removals
            self._active.difference_update(name for kind, name in removals if kind == CLUSTER)
        for key in released:
            visible.instead.pop(key, None)
            visible.unknown.discard(key)
        return released, tuple(sorted(given_up))

    def _has_come_back(self, now: float) -> bool:
        """Tell whether an Envoy that had things before this stream has said which routes it has.

        One that has none never does; by the end of patience it would have.
        """
        if not self._visible.unknown or self._delta.subscription(ROUTE) is not None:
            return True
        return self._began is not None and now - self._began >= PATIENCE_SECONDS

    def _missing(self, comes: Resource) -> set[str]:
        target = self._visible.target
        return {
            name
            for name in clusters_of(comes)
            if name not in self._active and target.get(CLUSTER, name) is not None
        }
