"""Who registers and who lists an endpoint key, over all services.

A registered key belongs to one service; these indexes say which services a registration's coming
and going touches, so that nothing has to look at the whole mesh.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from immutables import Map

from hostmesh_controlplane.logic.catalog import CatalogService
from hostmesh_controlplane.logic.registered_endpoints import instance_keys
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import RegisteredInstance

Listings = tuple[tuple[str, CatalogService], ...]
"""What each source lists of one service, by precedence."""


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """One host's registration of one key for one service."""

    service: str
    host_id: str


Claims = Map[EndpointKey, tuple[Claim, ...]]
"""The first claim came first: its service owns the key."""

Listed = Map[EndpointKey, frozenset[str]]
"""The services whose catalogs list a key."""


def keys_of(listings: Listings) -> frozenset[EndpointKey]:
    """Give every key that is listed of a service."""
    return frozenset(e.key for _, listing in listings for e in listing.endpoints)


def owner(claims: Claims, key: EndpointKey) -> str:
    """Give the service that a key belongs to; empty where nobody registered it."""
    of_key = claims.get(key, ())
    return of_key[0].service if of_key else ""


def reclaimed(
    claims: Claims,
    host_id: str,
    *,
    old: Iterable[RegisteredInstance],
    new: Iterable[RegisteredInstance],
) -> Claims:
    """Take in another registration of a host. A claim that stays keeps its place."""
    had = {(key, Claim(i.service, host_id)) for i in old for key in instance_keys(i)}
    has = dict.fromkeys(
        (key, Claim(i.service, host_id)) for i in new for key in sorted(instance_keys(i))
    )
    changed = claims.mutate()
    for key, claim in had - has.keys():
        left = tuple(one for one in changed[key] if one != claim)
        if left:
            changed[key] = left
        else:
            del changed[key]
    for key, claim in has:
        if (key, claim) not in had:
            changed[key] = (*changed.get(key, ()), claim)
    return changed.finish()


def relisted(listed: Listed, host: str, *, before: Listings, after: Listings) -> Listed:
    """Take in that a service is listed differently."""
    had, has = keys_of(before), keys_of(after)
    changed = listed.mutate()
    for key in had - has:
        left = changed[key] - {host}
        if left:
            changed[key] = left
        else:
            del changed[key]
    for key in has - had:
        changed[key] = changed.get(key, frozenset()) | {host}
    return changed.finish()


def by_arrival(
    claims: Claims, instances: Iterable[RegisteredInstance]
) -> tuple[RegisteredInstance, ...]:
    """Order a service's instances by port and key and, of one key, by who came first."""

    def place(instance: RegisteredInstance) -> tuple[int, EndpointKey, int, str]:
        claim = Claim(instance.service, instance.host_id)
        arrivals = claims.get(instance.keys[0], ())
        nth = arrivals.index(claim) if claim in arrivals else len(arrivals)
        return instance.port.number, instance.keys[0], nth, instance.host_id

    return tuple(sorted(instances, key=place))


def moved(
    old: Iterable[RegisteredInstance], new: Iterable[RegisteredInstance]
) -> Iterator[RegisteredInstance]:
    """Give those that have another address now."""
    there = {(instance.service, instance.workload_port): instance.keys for instance in new}
    for instance in old:
        keys = there.get((instance.service, instance.workload_port), instance.keys)
        if keys != instance.keys:
            yield instance
