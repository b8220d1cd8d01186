"""Which virtual host of a port gets which domain.

Envoy refuses a RouteConfiguration in which two virtual hosts claim one domain, and with it every
service of the port. So each domain has one owner: the service's full name counts before a short
name, that before an alias; then the smaller host name. Kept incrementally per port.
"""

import re
from collections.abc import Iterator
from enum import IntEnum
from typing import TypeVar

from hostmesh_controlplane.logic.render.views import VirtualHostFacts

_TEXT = re.compile(r"[a-z0-9_.-]+|\[[0-9a-f:]+\]")

EVERYWHERE = ""
"""The client namespace of a claim that holds for all clients."""


class Rank(IntEnum):
    """How strong a claim is; the smallest wins."""

    OWN = 0
    SHORT = 1
    ALIAS = 2
    QUALIFIED_SHORT = 3


class PortDomains:
    """The claims of all HTTP services on one port."""

    def __init__(self) -> None:
        """Start without claims."""
        self._claims: dict[tuple[str, str], set[tuple[Rank, str]]] = {}
        self._claimants: dict[str, set[str]] = {}
        """Domain -> hosts that claim it anywhere."""

    def add(self, facts: VirtualHostFacts) -> frozenset[str]:
        """Enter a service's claims, and give the hosts that share a domain with it."""
        for namespace, domain, rank in claims(facts):
            self._claims.setdefault((namespace, domain), set()).add((rank, facts.host))
            self._claimants.setdefault(domain, set()).add(facts.host)
        return self.rivals(facts)

    def remove(self, facts: VirtualHostFacts) -> frozenset[str]:
        """Take a service's claims out, and give the hosts that shared a domain with it."""
        rivals = self.rivals(facts)
        for namespace, domain, rank in claims(facts):
            _discard(self._claims, (namespace, domain), (rank, facts.host))
            _discard(self._claimants, domain, facts.host)
        return rivals

    def owned(self, facts: VirtualHostFacts, namespace: str) -> tuple[str, ...]:
        """Give the domains that the service has for clients of a namespace."""
        found = (
            domain
            for of, domain, _ in claims(facts)
            if of in (EVERYWHERE, namespace) and self._owner(domain, namespace) == facts.host
        )
        return tuple(dict.fromkeys(found))

    def rivals(self, facts: VirtualHostFacts) -> frozenset[str]:
        """Give the other hosts that claim one of the service's domains, anywhere."""
        shared = (self._claimants.get(domain, set()) for _, domain, _ in claims(facts))
        return frozenset().union(*shared) - {facts.host}

    def _owner(self, domain: str, namespace: str) -> str:
        claimants = self._claims.get((EVERYWHERE, domain), set())
        if namespace:
            claimants = claimants | self._claims.get((namespace, domain), set())
        return min(claimants)[1]


K = TypeVar("K")
V = TypeVar("V")


def _discard(index: dict[K, set[V]], key: K, value: V) -> None:
    held = index.get(key, set())
    held.discard(value)
    if not held:
        index.pop(key, None)


def claims(facts: VirtualHostFacts) -> Iterator[tuple[str, str, Rank]]:
    """Give (client namespace, domain, rank) of each name, the strongest claim on it only.

    What is no plain name is left out: a `*` from a catalog would take the whole port down.
    Ports need no domains of their own: the routes ignore the port in Host.
    """
    seen: set[tuple[str, str]] = set()
    for namespace, domain, rank in _all_claims(facts):
        if _TEXT.fullmatch(domain) and (namespace, domain) not in seen:
            seen.add((namespace, domain))
            yield namespace, domain, rank


def _all_claims(facts: VirtualHostFacts) -> Iterator[tuple[str, str, Rank]]:
    yield EVERYWHERE, facts.host, Rank.OWN
    yield EVERYWHERE, f"{facts.host}.", Rank.OWN
    yield EVERYWHERE, facts.vip4, Rank.OWN
    yield EVERYWHERE, f"[{facts.vip6}]" if facts.vip6 else "", Rank.OWN
    if facts.short_name:
        yield facts.namespace, facts.short_name, Rank.SHORT
    for alias in facts.aliases:
        yield EVERYWHERE, alias.lower(), Rank.ALIAS
    if facts.short_name:
        yield EVERYWHERE, f"{facts.short_name}.{facts.namespace}", Rank.QUALIFIED_SHORT
