"""The addresses of this host's interfaces."""

import ipaddress
import socket

import psutil

_PROXY_SOURCE = "::6"
"""The address that inbound connections come from; the redirector adds it to lo."""


def own_addresses() -> tuple[str, ...]:
    """Give every address of this host that another host could dial: no loopback, no link-local."""
    found: set[str] = set()
    for entries in psutil.net_if_addrs().values():
        for entry in entries:
            if entry.family in (socket.AF_INET, socket.AF_INET6):
                address = ipaddress.ip_address(entry.address.partition("%")[0])
                if not (address.is_loopback or address.is_link_local):
                    found.add(str(address))
    return tuple(sorted(found - {_PROXY_SOURCE}))
