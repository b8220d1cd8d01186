"""How much of a service's requests an endpoint may draw to itself by its weight.

Whoever can write a catalog can write 65535 into one. So once a service has a registered host, what
catalogs say counts up to the largest weight that was there then: relations that were there stay as
they were, and a later word raises nobody above them. A registration's own weight and a static
document's count as they are.
"""

from collections.abc import Iterable

from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import RegisteredInstance

Said = Iterable[tuple[str, CatalogEndpoint]]
"""What sources say of one endpoint, by precedence."""


def largest(
    listings: Iterable[tuple[str, CatalogService]], instances: Iterable[RegisteredInstance]
) -> int:
    """Give the limit for what catalogs say from now on."""
    listed = (endpoint.weight for _, listing in listings for endpoint in listing.endpoints)
    return max((*listed, *(instance.weight for instance in instances)), default=1)


def settled(
    key: EndpointKey, said: Said, *, limit: int, unlimited: frozenset[str]
) -> tuple[int, list[str]]:
    """Give the weight that counts, and sentences: who differs, and what is above the limit (0 =
    there is none). `unlimited` are the sources that it does not bind.
    """
    stated = {source: e.weight for source, e in said if e.weight != 1}
    sentences: list[str] = []
    if len(set(stated.values())) > 1:
        first, *rest = stated.items()
        others = ", ".join(f"{source} says {weight}" for source, weight in rest)
        sentences.append(f"{key} has weight {first[1]} as {first[0]} says; {others}")
    source, weight = next(iter(stated.items()), ("", 1))
    if not limit or weight <= limit or source in unlimited:
        return weight, sentences
    sentences.append(
        f"{key} counts with weight {limit}, not {weight} as {source} says: no more than the "
        "largest when the service got its first registered host (today's: hostmesh service "
        "allow-unmeshed --take-weights)"
    )
    return limit, sentences
