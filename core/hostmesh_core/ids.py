"""Typed names of things. Text is parsed here, at the border; inside, only these types travel."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from hostmesh_core.errors import BadInput

DEFAULT_TRUST_DOMAIN = "mesh.internal"
ROOT_NAMESPACE = "hostmesh-system"
HOST_PATH_PREFIX = "/hostmesh/host/"
RESERVED_PATH_PREFIX = "/hostmesh/"

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST_ID = re.compile(r"[0-9a-f]{32}")


def is_dns_label(text: str) -> bool:
    """Tell whether `text` is one DNS label in lower case (RFC 1123, at most 63 bytes)."""
    return _LABEL.fullmatch(text) is not None


def is_dns_name(text: str) -> bool:
    """Tell whether `text` is a name of DNS labels, at most 253 bytes, without a final dot."""
    return 0 < len(text) <= 253 and all(is_dns_label(label) for label in text.split("."))


def canonical_address(text: str) -> str:
    """Give an IP address in the one text form that it has here. Raises ValueError.

    `::ffff:10.0.0.1` is 10.0.0.1: the kernel connects both to the same socket, so one that is
    registered must be known under the other. A zone (`fe80::1%eth0`) means nothing to other hosts.
    """
    if "%" in text:
        raise ValueError("an address with a zone means nothing to other hosts")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("not an IP address") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """A workload's identity inside one trust domain: namespace and service account."""

    namespace: str
    service_account: str

    def __str__(self) -> str:
        """Give the form used in secret names and tables."""
        return f"{self.namespace}/{self.service_account}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `namespace/service-account`. Raises BadInput."""
        namespace, slash, account = text.partition("/")
        if not (slash and is_dns_label(namespace) and is_dns_label(account)):
            raise BadInput(f"cannot read identity {text!r}: expected namespace/service-account")
        return cls(namespace, account)


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """A SPIFFE ID (spec: SPIFFE-ID section 2): trust domain and path, the path with its slash."""

    trust_domain: str
    path: str

    def __str__(self) -> str:
        """Give the URI."""
        return f"spiffe://{self.trust_domain}{self.path}"

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a URI. Raises BadInput for anything but `spiffe://<dns name>[/segment…]`."""
        scheme, _, rest = uri.partition("://")
        domain, slash, path = rest.partition("/")
        bad_segment = slash != "" and any(s in ("", ".", "..") for s in path.split("/"))
        if scheme != "spiffe" or not is_dns_name(domain) or bad_segment or len(uri) > 2048:
            raise BadInput(
                f"cannot read SPIFFE id {uri!r}: expected spiffe://<trust domain>/<path>"
            )
        return cls(domain, slash + path)

    @classmethod
    def of_workload(cls, trust_domain: str, identity: Identity) -> Self:
        """Name a workload the way Istio does."""
        path = f"/ns/{identity.namespace}/sa/{identity.service_account}"
        return cls(trust_domain, path)

    @classmethod
    def of_host(cls, trust_domain: str, host_id: str) -> Self:
        """Name a host: only its agent holds this identity."""
        return cls(trust_domain, HOST_PATH_PREFIX + host_id)

    @property
    def identity(self) -> Identity | None:
        """The workload identity that this id states, or None for any other path."""
        match self.path.split("/"):
            case ["", "ns", namespace, "sa", account]:
                labels = is_dns_label(namespace) and is_dns_label(account)
                return Identity(namespace, account) if labels else None
            case _:
                return None

    @property
    def host_id(self) -> str | None:
        """The host id that this id states, or None for any other path."""
        host_id = self.path.removeprefix(HOST_PATH_PREFIX)
        stated = host_id != self.path and _HOST_ID.fullmatch(host_id) is not None
        return host_id if stated else None


@dataclass(frozen=True, slots=True, order=True)
class EndpointKey:
    """What makes an endpoint the same endpoint in every catalog: network, address, port.

    `address` is an IP address in its canonical text form; use `of` for text from outside.
    """

    network: str
    address: str
    port: int

    def __str__(self) -> str:
        """Give `address:port`, IPv6 in brackets, with the network where it is not the default."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.network}/{host}:{self.port}" if self.network else f"{host}:{self.port}"

    @classmethod
    def of(cls, address: str, port: int, *, network: str = "") -> Self:
        """Build from text. Raises BadInput for what is no IP address or no port (1..65535)."""
        try:
            canonical = canonical_address(address)
        except ValueError as error:
            raise BadInput(f"cannot use endpoint address {address[:64]!r}: {error}") from error
        if not 0 < port < 65536:
            raise BadInput(f"cannot use endpoint port {port}: expected 1 to 65535")
        return cls(network, canonical, port)
