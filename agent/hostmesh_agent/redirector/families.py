"""The two address families, and every name that the redirector gives to something in the kernel."""

import zlib
from enum import IntEnum

ROUTE_PROTOCOL = 72
"""Marks our routes (`ip route show proto 72`), so that they are recognised whatever the
configuration says today. No routing daemon uses the number."""
SET_SIZE = 65536
"""Most elements of an endpoint set; constant, so that sets can always be swapped."""
CHAIN_PREFIX = "HOSTMESH_"
NAT = "nat"
"""The kernel's table that leads connections into Envoy."""
FILTER = "filter"
"""The kernel's table that the guard is in."""
_FIRST_GROUP, _GROUPS = 61_000, 4000
"""Far above what ulogd and others are set up with; of 16 bits."""
_TAG_LENGTH = 12  # of 28 characters that a chain name may have


class Family(IntEnum):
    """An address family; its value is the version number."""

    V4 = 4
    V6 = 6

    @property
    def iptables(self) -> str:
        """The stem of this family's programs: `iptables`, `ip6tables`."""
        return "iptables" if self is Family.V4 else "ip6tables"

    @property
    def inet(self) -> str:
        """What ipset calls it."""
        return "inet" if self is Family.V4 else "inet6"

    @property
    def loopback(self) -> str:
        """What is never captured because it never leaves the host."""
        return "127.0.0.0/8" if self is Family.V4 else "::1/128"

    @property
    def link_local(self) -> str:
        """Cloud metadata and neighbours."""
        return "169.254.0.0/16" if self is Family.V4 else "fe80::/10"

    @property
    def inbound_source(self) -> str:
        """The source address of Envoy's own connections to the app."""
        return "127.0.0.6/32" if self is Family.V4 else "::6/128"


def family_of(text: str) -> Family:
    """Give the family of an address or network in text form."""
    return Family.V6 if ":" in text else Family.V4


def tag(instance: str) -> str:
    """Give an instance's part of the names; a long name keeps its beginning and gets a hash."""
    if len(instance) <= _TAG_LENGTH:
        return instance
    # Not hashlib: it loads OpenSSL, 5 MB for a process that needs none of it (measured).
    return f"{instance[:6]}-{zlib.crc32(instance.encode()):08x}"[:_TAG_LENGTH]


def chain_prefix(instance: str) -> str:
    """Give what all chains of an instance begin with; an instance name has no underscore."""
    return f"{CHAIN_PREFIX}{tag(instance).upper()}_"


def inbound_chain(instance: str) -> str:
    """Name the chain that PREROUTING jumps to."""
    return f"{chain_prefix(instance)}IN"


def outbound_chain(instance: str) -> str:
    """Name the chain that OUTPUT jumps to."""
    return f"{chain_prefix(instance)}OUT"


def inbound_guard(instance: str) -> str:
    """Name the chain that INPUT jumps to; 28 characters leave no room for the whole word."""
    return f"{chain_prefix(instance)}G_IN"


def outbound_guard(instance: str) -> str:
    """Name the chain of the filter table that OUTPUT jumps to."""
    return f"{chain_prefix(instance)}G_OUT"


def log_group(instance: str) -> int:
    """Give the NFLOG group of an instance's guard.

    One listener has a group to itself, so each instance has its own. Where two meet in one, the
    second is not heard: its guard stops what it has to and the kernel forgets in its own time.
    """
    return _FIRST_GROUP + zlib.crc32(instance.encode()) % _GROUPS


def endpoint_set(instance: str, family: Family) -> str:
    """Name the set of a family's endpoint addresses."""
    return f"hostmesh-{tag(instance)}-v{family.value}"


def next_set(instance: str, family: Family) -> str:
    """Name the set that is filled and then swapped in."""
    return f"{endpoint_set(instance, family)}-n"
