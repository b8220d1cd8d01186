"""Addresses that a catalog others write to may list, and that are no other host's.

An instance at one of them would be reached on the caller's own machine (loopback, link-local: a
cloud's metadata service is at 169.254.169.254), by the mesh itself (its virtual addresses), by
several at once, or by nobody. A static document is the operator's own word and is not asked.
"""

import ipaddress
from collections.abc import Iterable

from hostmesh_core.ids import EndpointKey

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NOWHERE = (ipaddress.ip_network("0.0.0.0/8"), ipaddress.ip_network("100::/64"))
"""This host, and IPv6's discard prefix."""


def refused(key: EndpointKey, virtual: Iterable[Network]) -> str:
    """Say why nobody is sent to an address that a catalog lists; empty = it may be listed."""
    ip = ipaddress.ip_address(key.address)
    if any(ip in network for network in virtual):
        return f"{key} is a virtual address of the mesh"
    if ip.is_loopback or ip.is_link_local or ip in _NOWHERE[0]:
        return f"{key} is the caller's own machine or link, whoever calls"
    if ip.is_unspecified or ip.is_multicast or ip.is_reserved or ip in _NOWHERE[1]:
        return f"{key} is no host's address"
    if isinstance(ip, ipaddress.IPv6Address) and (ip.sixtofour or ip.teredo):
        return f"{key} carries an IPv4 address inside: list that one"
    return ""


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read the ranges of virtual addresses."""
    return tuple(ipaddress.ip_network(text) for text in texts)
