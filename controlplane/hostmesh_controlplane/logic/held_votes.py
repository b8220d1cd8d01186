"""Which held endpoints are truly gone: votes from connections that fail while others succeed.

A catalog may be wrong about an endpoint, and so may a probe (a firewall between us and it). An
endpoint is out only where both say so: no source lists it, and it refuses while another endpoint
of the same service accepts from the very same place. Without such a control nothing is decided.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from immutables import Map

from hostmesh_controlplane.logic.draft import Inputs
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Health, Service

FAILURES_NEEDED = 2
"""In a row, each beside a control that accepted."""
CONTROLS = 3
"""How many endpoints that are listed are tried beside the held ones of a service."""

Place = tuple[str, EndpointKey]


@dataclass(frozen=True, slots=True)
class Vote:
    """What the merge is to be told of one held endpoint (`merge.set_refusing`)."""

    host: str
    key: EndpointKey
    refuses: bool


@dataclass(frozen=True, slots=True)
class Votes:
    """What is remembered between probes."""

    failures: Map[Place, int] = field(default_factory=Map)
    """Per held endpoint, how often in a row it refused."""


def held_keys(inputs: Inputs) -> tuple[EndpointKey, ...]:
    """Give the endpoints of a service that are held by some source and listed by none."""
    endpoints = [e for _, listing in inputs.listings for e in listing.endpoints]
    listed = {e.key for e in endpoints if not e.held}
    live = {key for instance in inputs.instances for key in instance.keys}
    return tuple(sorted({e.key for e in endpoints if e.held} - listed - live))


def controls(service: Service) -> tuple[EndpointKey, ...]:
    """Give a few endpoints that should accept, to tell a dead endpoint from a blind prober."""
    sound = (e for e in service.endpoints if not e.held and e.health is not Health.UNHEALTHY)
    return tuple(endpoint.key for endpoint, _ in zip(sound, range(CONTROLS), strict=False))


def judged(
    votes: Votes, host: str, *, held: tuple[EndpointKey, ...], accepted: Mapping[EndpointKey, bool]
) -> tuple[Votes, list[Vote]]:
    """Take in what one round of connections to a service came to; give what to tell.

    `accepted` has the held endpoints and the controls.
    """
    if not any(accepted.values()):
        return votes, []
    failures = votes.failures
    told: list[Vote] = []
    for key in held:
        before = failures.get((host, key), 0)
        if accepted.get(key, False):
            if before >= FAILURES_NEEDED:
                told.append(Vote(host, key, refuses=False))
            failures = _without(failures, (host, key))
        else:
            failures = failures.set((host, key), before + 1)
            if before + 1 == FAILURES_NEEDED:
                told.append(Vote(host, key, refuses=True))
    return Votes(failures), told


def forget(votes: Votes, still: Mapping[str, tuple[EndpointKey, ...]]) -> Votes:
    """Keep only what is about endpoints that are held still (by host name)."""
    kept = {(h, k): n for (h, k), n in votes.failures.items() if k in still.get(h, ())}
    return Votes(Map(kept))


def _without(failures: Map[Place, int], place: Place) -> Map[Place, int]:
    return failures.delete(place) if place in failures else failures
