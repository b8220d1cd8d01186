"""Virtual addresses: one pair per service for life, the same on every replica (DESIGN 4).

A pair is one number: the service's place in both ranges. Where the search for a free number starts
depends on the host name alone, so that two replicas that meet the same new service want the same
pair, and the store's compare-and-set settles the rest: `address_key` claims the pair for a host,
`host_key` remembers what a host got and which port it was first seen with.
"""

import hashlib
import ipaddress
import json
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache

from hostmesh_core.errors import BadInput


@dataclass(frozen=True, slots=True)
class VipRecord:
    """What one host name was given. It is kept when the service goes, so that it can return."""

    vip4: str
    vip6: str
    port: int = 0
    """The service port of a service whose catalogs know only instances, as first seen; 0 = none
    was needed yet. It stays, so that a redeploy on new ports does not move the service."""

    def to_bytes(self) -> bytes:
        """Give the stored form."""
        return json.dumps({"vip4": self.vip4, "vip6": self.vip6, "port": self.port}).encode()

    @classmethod
    def from_bytes(cls, value: bytes) -> "VipRecord":
        """Read the stored form, which only this class writes."""
        stored = json.loads(value)
        return cls(stored["vip4"], stored["vip6"], stored["port"])


@dataclass(frozen=True, slots=True)
class WantedVip:
    """A host name that needs a record, or a port in the record that it has."""

    host: str
    port: int = 0


@dataclass(frozen=True, slots=True)
class VipRanges:
    """The two networks that addresses are given from. Their first addresses stay unused."""

    vip4: str = "240.240.0.0/16"
    vip6: str = "fd48:6d65:7368::/64"

    @property
    def size(self) -> int:
        """How many services fit: without the network's own and the last address."""
        networks = _networks(self)
        return min(network.num_addresses for network in networks) - 2

    def pair(self, number: int) -> tuple[str, str]:
        """Give the two addresses of place `number` (0 … size - 1)."""
        four, six = (str(network.network_address + 1 + number) for network in _networks(self))
        return four, six


@lru_cache(maxsize=16)
def _networks(
    ranges: VipRanges,
) -> tuple[ipaddress.IPv4Network, ipaddress.IPv6Network]:
    try:
        four, six = ipaddress.IPv4Network(ranges.vip4), ipaddress.IPv6Network(ranges.vip6)
    except ValueError as error:
        raise BadInput(
            f"cannot use vip4_range {ranges.vip4!r} and vip6_range {ranges.vip6!r}: {error}"
        ) from error
    if min(four.num_addresses, six.num_addresses) < 4:
        raise BadInput(f"cannot use vip4_range {ranges.vip4!r}: no room for a service")
    return four, six


class RangeFull(BadInput):
    """Every pair of the ranges is given away."""


def candidates(host: str, ranges: VipRanges) -> Iterator[tuple[str, str]]:
    """Give the pairs to try for a host, the wanted one first, every pair of the ranges once."""
    size = ranges.size
    digest = hashlib.sha256(host.encode()).digest()
    start = int.from_bytes(digest[:8], "big") % size
    for step in range(size):
        yield ranges.pair((start + step) % size)


def allocate(
    wanted: WantedVip,
    *,
    ranges: VipRanges,
    taken: Container[str],
) -> VipRecord:
    """Choose the pair for a new host name. `taken` holds the IPv4 addresses that are given away,
    those of services that have gone included. Raises BadInput (`full`) where all are.
    """
    for vip4, vip6 in candidates(wanted.host, ranges):
        if vip4 not in taken:
            return VipRecord(vip4, vip6, wanted.port)
    raise full(wanted, ranges)


def full(wanted: WantedVip, ranges: VipRanges) -> RangeFull:
    """Say that no pair is left: none is ever given back, so it stays so."""
    return RangeFull(
        f"cannot give {wanted.host} a virtual address: all {ranges.size} of {ranges.vip4} are "
        "taken, also by services that are gone; widen vip4_range"
    )


def address_key(vip4: str) -> str:
    """Name the record that claims a pair for one host (its value is the host name)."""
    return f"address/{vip4}"


def host_key(host: str) -> str:
    """Name the record that holds a host's VipRecord."""
    return f"host/{host}"
