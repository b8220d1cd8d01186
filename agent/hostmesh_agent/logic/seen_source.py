"""Where an app sees its calls come from once Envoy stands before it.

What the control plane renders decides it: a connection that the rules would lead back into Envoy
is bound to 127.0.0.6 (::6), any other gets the address that the kernel gives it.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from hostmesh_agent.config import ServiceConfig
from hostmesh_core.addresses import split_host_port

_EVERY_HOST = 0
"""The prefix length of a network that everybody is in."""


@dataclass(frozen=True, slots=True)
class SeenSource:
    """Which addresses the app will see, and how they are called in a sentence."""

    text: str
    addresses: frozenset[str] = frozenset()

    @property
    def is_loopback(self) -> bool:
        """Tell whether software that trusts this host's own callers would trust it."""
        return any(ipaddress.ip_address(each).is_loopback for each in self.addresses)

    def is_within(self, network: str) -> bool:
        """Tell whether a network (`10.0.0.0/8`, `127.0.0.1`) holds one of the addresses."""
        parsed = parsed_network(network)
        return parsed is not None and any(
            ipaddress.ip_address(each) in parsed for each in self.addresses
        )

    def stands_for_this_host(self, network: str) -> bool:
        """Tell whether a rule about `network` means callers of this host itself, and holds it.

        `10.0.0.0/8` means others too, whatever address of it the app will see.
        """
        parsed = parsed_network(network)
        if parsed is None or not self.is_within(network):
            return False
        return parsed.num_addresses == 1 or parsed.is_loopback


def seen_source(service: ServiceConfig, *, captured: bool, own: Iterable[str] = ()) -> SeenSource:
    """Give what a service's app will see.

    `captured`: the rules lead its port into Envoy; `own`: this host's addresses but loopback's.
    """
    host = split_host_port(service.listen)[0] if service.listen else ""
    if host and is_loopback(host):
        # Whichever loopback address is called, the kernel calls from the first one.
        address = "127.0.0.1" if _plain(host).version == 4 else "::1"
        return SeenSource(address, frozenset({address}))
    if captured:
        return SeenSource("127.0.0.6 (::6)", frozenset({"127.0.0.6", "::6"}))
    if host:
        return SeenSource(host, frozenset({host}))
    return SeenSource("this host's own address", frozenset(own))


def is_loopback(address: str) -> bool:
    """Tell an address of loopback, written as an IPv6 one as well."""
    return _plain(address).is_loopback


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


def is_everybody(network: str) -> bool:
    """Tell `0.0.0.0/0` and `::/0`, however they are written."""
    parsed = parsed_network(network)
    return parsed is not None and parsed.prefixlen == _EVERY_HOST


def parsed_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Read an address or a network; None = it is a name or something else."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
