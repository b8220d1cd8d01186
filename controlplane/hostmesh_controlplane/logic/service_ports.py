"""Which ports a service has, and which of them an instance serves, where several sources speak.

A port's protocol: registration > static > Consul's meta > tcp, and where it fell to tcp by default
the port says so (DESIGN 4). Everything else of a port follows the order of the sources.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService
from hostmesh_core.model import Port, Protocol, RegisteredInstance

REGISTERED = "registered"


@dataclass(frozen=True, slots=True)
class Ports:
    """The service's ports, and the sentences about them."""

    ports: tuple[Port, ...]
    conflicts: tuple[str, ...]
    fallback: int
    """What an instance serves whose catalog does not number ports; 0 = none can be told."""

    @property
    def numbers(self) -> frozenset[int]:
        """Give the port numbers."""
        return frozenset(port.number for port in self.ports)


def settle(
    listings: Sequence[tuple[str, CatalogService]],
    instances: Sequence[RegisteredInstance],
    *,
    stored: int,
    registered_rank: int,
) -> Ports:
    """Settle the ports from all sources.

    `listings` by precedence; `registered_rank` is where registrations stand among them. `stored`
    is the port that the service was first seen with, 0 = not yet.
    """
    claims = _claims(listings, instances, registered_rank=registered_rank)
    stated = _stated(listings)[1]
    numbers = sorted({port.number for _, port in claims})
    settled = [_one(number, claims, stated) for number in numbers]
    registered = {instance.port.number for instance in instances}
    above = {port.number for _, listing in listings[:registered_rank] for port in listing.ports}
    fallback = _fallback(
        numbers,
        stored=stored,
        unnumbered=_unnumbered(listings),
        registered=registered,
        firm=registered | above,
    )
    ports = [port for port, _ in settled]
    if fallback and fallback not in numbers and not numbers:
        protocol = stated or Protocol.TCP
        ports.append(Port(fallback, protocol, protocol_defaulted=stated is None))
    conflicts = tuple(sentence for _, sentences in settled for sentence in sentences)
    return Ports(tuple(sorted(ports)), conflicts, fallback)


def word(
    number: int,
    listings: Sequence[tuple[str, CatalogService]],
    instances: Sequence[RegisteredInstance],
    *,
    registered_rank: int,
) -> str:
    """Give the source whose word a port's protocol is; empty where it fell to tcp by default."""
    claims = _claims(listings, instances, registered_rank=registered_rank)
    spoken = _spoken(number, claims)
    return spoken[0][0] if spoken else _stated(listings)[0]


def served(endpoint: CatalogEndpoint, ports: Ports) -> int:
    """Give the service port that a catalog's endpoint serves; 0 where it cannot be told."""
    if endpoint.service_port:
        return endpoint.service_port
    if endpoint.port_name:
        by_name = (port.number for port in ports.ports if port.name == endpoint.port_name)
        return next(by_name, 0)
    if ports.fallback:
        return ports.fallback
    return endpoint.key.port if endpoint.key.port in ports.numbers else 0


def first_seen(
    listings: Sequence[tuple[str, CatalogService]], instances: Sequence[RegisteredInstance]
) -> int:
    """Give the port to remember for a service that has none stored; 0 = none is needed."""
    unnumbered = _unnumbered(listings)
    if not unnumbered:
        return 0
    declared = {port.number for _, service in listings for port in service.ports}
    declared |= {instance.port.number for instance in instances}
    return declared.pop() if len(declared) == 1 else min(unnumbered)


def _claims(
    listings: Sequence[tuple[str, CatalogService]],
    instances: Sequence[RegisteredInstance],
    *,
    registered_rank: int,
) -> list[tuple[str, Port]]:
    """Give every (who, port) by precedence."""
    by_source = [[(source, port) for port in service.ports] for source, service in listings]
    registered = [(REGISTERED, instance.port) for instance in instances]
    ordered = [*by_source[:registered_rank], registered, *by_source[registered_rank:]]
    return [claim for part in ordered for claim in part]


def _one(
    number: int, claims: list[tuple[str, Port]], stated: Protocol | None
) -> tuple[Port, list[str]]:
    mine = [(who, port) for who, port in claims if port.number == number]
    spoken = _spoken(number, claims)
    protocol = spoken[0][1] if spoken else stated
    port = Port(
        number,
        protocol or Protocol.TCP,
        name=next((p.name for _, p in mine if p.name), ""),
        protocol_defaulted=protocol is None,
        server_first=any(p.server_first for _, p in mine),
    )
    return port, _disagreements(number, spoken)


def _spoken(number: int, claims: list[tuple[str, Port]]) -> list[tuple[str, Protocol]]:
    """Give who states a port's protocol, the one whose word it is first."""
    spoken = [
        (who, port.protocol)
        for who, port in claims
        if port.number == number and not port.protocol_defaulted
    ]
    return sorted(spoken, key=lambda claim: claim[0] != REGISTERED)  # the rest by precedence


def _stated(listings: Sequence[tuple[str, CatalogService]]) -> tuple[str, Protocol | None]:
    """Give who states the protocol of ports that its catalog does not number, and which."""
    said = ((source, s.stated_protocol) for source, s in listings if s.stated_protocol)
    return next(said, ("", None))


def _disagreements(number: int, spoken: list[tuple[str, Protocol]]) -> list[str]:
    others = dict.fromkeys(f"{who} says {what}" for who, what in spoken if what != spoken[0][1])
    if not others:
        return []
    who, what = spoken[0]
    return [f"port {number} speaks {what} as {who} says; {', '.join(others)}"]


def _unnumbered(listings: Sequence[tuple[str, CatalogService]]) -> set[int]:
    """Give the instance ports of endpoints whose service port their catalog does not know."""
    endpoints: Iterable[CatalogEndpoint] = (e for _, s in listings for e in s.endpoints)
    return {e.key.port for e in endpoints if not e.service_port and not e.port_name}


def _fallback(
    numbers: list[int],
    *,
    stored: int,
    unnumbered: set[int],
    registered: set[int],
    firm: set[int],
) -> int:
    """`firm`: what hosts register and what sources say that go before them. Once hosts register
    one port, a number that a lesser catalog adds takes no unnumbered endpoint from it.
    """
    if len(numbers) == 1:
        return numbers[0]
    if numbers and len(registered) == 1 and stored not in firm:
        return next(iter(registered))
    if numbers:
        return stored if stored in numbers else 0
    return (stored or min(unnumbered)) if unnumbered else 0
