"""Which part of a host's registration the next start would remember: no other may be published.

A restart that forgets a published key would leave its catalog's entry, which is plaintext in a
mixed service, until the host speaks again. What else changes of a stored key (health, weight,
labels) is the host's to say again, and waits for nothing.
"""

from collections.abc import Iterable, Set
from dataclasses import replace

from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import RegisteredInstance

Place = tuple[str, EndpointKey]
"""A service's host name, and a key that is registered for it."""


def places(instances: Iterable[RegisteredInstance]) -> frozenset[Place]:
    """Give all that a host has registered."""
    return frozenset((instance.service, key) for instance in instances for key in instance.keys)


def stored_part(
    instances: Iterable[RegisteredInstance], stored: Set[Place]
) -> tuple[RegisteredInstance, ...]:
    """Give the instances with those of their keys that are stored; none is stored = left out."""
    kept = (
        replace(one, keys=tuple(key for key in one.keys if (one.service, key) in stored))
        for one in instances
    )
    return tuple(one for one in kept if one.keys)


def left_places(
    told: Iterable[RegisteredInstance],
    now: Iterable[RegisteredInstance],
    instances: Iterable[RegisteredInstance],
) -> tuple[RegisteredInstance, ...]:
    """Give what was told of instances that have moved to where nothing of them is stored yet.

    They have not left: what a catalog says of the old place would be plaintext.
    """
    waiting = {_named(one) for one in instances} - {_named(one) for one in now}
    return tuple(one for one in told if _named(one) in waiting)


def _named(instance: RegisteredInstance) -> tuple[str, int]:
    return instance.service, instance.workload_port
