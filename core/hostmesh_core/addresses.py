"""Reads `host:port` texts, the one way everywhere."""

import ipaddress

from hostmesh_core.ids import is_dns_name


def is_ip(text: str) -> bool:
    """Tell whether `text` is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def split_host_port(text: str, *, default_port: int = 0) -> tuple[str, int]:
    """Read `host:port`, IPv6 in brackets. Raises ValueError for anything else.

    Where the port is not stated `default_port` is taken; 0 = it has to be stated. A host name is
    given in lower case, an IP address in its canonical form.
    """
    host, port = _parted(text, default_port)
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    if not 0 < number < 65536:
        raise ValueError(f"expected host:port, not {text!r}")
    if host.startswith("[") and host.endswith("]"):
        return _canonical(host[1:-1], version=6), number
    if ":" in host:
        raise ValueError(f"expected an IPv6 address in brackets, not {text!r}")
    if is_ip(host):
        return host, number
    name = host.lower()
    if not is_dns_name(name) or name.rpartition(".")[2].isdigit():
        raise ValueError(f"{host!r} is neither an IP address nor a host name")
    return name, number


def _parted(text: str, default_port: int) -> tuple[str, str]:
    host, colon, port = text.rpartition(":")
    stated = colon != "" and not text.endswith("]") and (":" not in host or host.startswith("["))
    if stated:
        return host, port
    bare = f"[{text}]" if is_ip(text) and ":" in text else text
    return bare, str(default_port)


def _canonical(text: str, *, version: int) -> str:
    address = ipaddress.ip_address(text)
    if address.version != version:
        raise ValueError(f"{text!r} is no IPv{version} address")
    return str(address)
