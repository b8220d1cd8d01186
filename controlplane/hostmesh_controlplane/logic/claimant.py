"""The host that registers, as far as the control plane itself knows it, and its addresses. Pure."""

import ipaddress
from collections.abc import Iterable, Set
from dataclasses import dataclass

from hostmesh_core.grant import Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """The host that registers, as far as the control plane itself knows it."""

    host_id: str
    grant: Grant
    source: str
    """Where its newest stream comes from; empty = unknown, as after a restart."""
    proven: Set[str] = frozenset()
    """All addresses that a stream of it has come from, `source` included."""
    interfaces: Set[str] = frozenset()
    """What it says its own addresses are: a hint, no proof."""

    @property
    def has(self) -> frozenset[str]:
        """Every address that may be this host's now. One that a stream has proven a moment ago
        and that no interface has any more is somebody else's, or soon will be.
        """
        if not self.interfaces:
            return frozenset(self.proven)
        return frozenset({self.source, *self.interfaces} - {""})

    def may_use(self, address: str) -> bool:
        """Whether the address counts: proven by a stream, or within the grant's CIDRs."""
        return address in self.proven or self.grant.allows_address(address)


def own_addresses(host: Claimant) -> tuple[str, ...]:
    """Give where the host's streams come from; behind NAT, which of its own its grant covers.

    What a stream comes from and no interface has is somebody else's: of a router, which does not
    serve what this host does. Where it leads back here, `services[].address` says so.
    """
    others = sorted(host.proven - {host.source})
    seen = [host.source, *others] if host.source else others
    if not host.interfaces:
        return one_per_family(seen)
    own = [address for address in seen if address in host.interfaces]
    return one_per_family(own or [a for a in sorted(host.interfaces) if host.may_use(a)])


def no_address(host: Claimant) -> str:
    """Say why none of a host's addresses counts, and what would make one count."""
    if not host.proven:
        return "the control plane sees no address of this host"
    seen, own = ", ".join(sorted(host.proven)), sorted(host.interfaces)
    first = next((address for address in own if ":" not in address), own[0])
    bits = ipaddress.ip_address(first).max_prefixlen
    return (
        f"the control plane sees {seen}, which no interface of this host has (it has "
        f"{', '.join(own)}): there is NAT between them; if peers reach it at {first}, allow it "
        f"with: hostmesh host grant {host.host_id} --add-cidr {first}/{bits}; if they reach it "
        f"at {seen}, set services[].address"
    )


def one_per_family(addresses: Iterable[str]) -> tuple[str, ...]:
    """Give the first address of each family."""
    first: dict[bool, str] = {}
    for address in addresses:
        first.setdefault(":" in address, address)
    return tuple(first[family] for family in sorted(first))
