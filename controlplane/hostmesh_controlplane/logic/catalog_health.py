"""How far a catalog's word may take registered instances out.

An endpoint's health is the worst of all its sources, so that a catalog's maintenance mode and its
checks drain a registered instance too. But whoever can write a catalog can mark all of them, and a
registration with its lease and its own health is the stronger word. So of the instances that are
well by their own word catalogs take out at most half, the first ones that they named; what they
say of the others is shown and not followed. Where unmeshed endpoints serve beside them, half is
rounded up: the only registered one can be drained.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Endpoint, Health

Place = tuple[int, EndpointKey]
"""Service port and key."""


@dataclass(frozen=True, slots=True)
class Word:
    """What is said of one registered instance on one port."""

    own: Health
    """By its host."""
    catalogs: Health
    """The worst of all catalogs."""
    since: float = 0.0
    """Wall clock, since when a catalog says so."""


REASON = "not followed: catalogs take out at most half of what is registered"


def bounded(
    endpoints: Sequence[Endpoint], words: Mapping[Place, Word], *, mesh: bool
) -> tuple[list[Endpoint], list[str]]:
    """Give the endpoints with the health that counts, and a sentence where a word is set aside."""
    others = () if mesh else (e for e in endpoints if not e.meshed)
    beside = (e.service_port for e in others if e.health is not Health.UNHEALTHY)
    aside = set_aside(words, beside=beside)

    def heard(endpoint: Endpoint) -> Endpoint:
        place = (endpoint.service_port, endpoint.key)
        if not endpoint.meshed or place not in aside:
            return endpoint
        return replace(endpoint, health=words[place].own, reasons=(*endpoint.reasons, REASON))

    said = (
        f"catalogs call {len(aside)} registered instance(s) unhealthy beyond half of them; these "
        "are used all the same (to take one out, stop its app, or hostmesh-agent leave)"
    )
    return [heard(endpoint) for endpoint in endpoints], [said] if aside else []


def set_aside(words: Mapping[Place, Word], *, beside: Iterable[int]) -> frozenset[Place]:
    """Give the places where the catalogs' word is not followed.

    `beside` are the service ports where healthy unmeshed endpoints are reached too.
    """
    with_others = frozenset(beside)
    aside: set[Place] = set()
    for port in {port for port, _ in words}:
        well = {p: w for p, w in words.items() if p[0] == port and w.own is not Health.UNHEALTHY}
        out = sorted(
            (place for place, word in well.items() if word.catalogs is Health.UNHEALTHY),
            key=lambda place: (well[place].since, place),
        )
        most = (len(well) + (port in with_others)) // 2
        aside.update(out[most:])
    return frozenset(aside)
