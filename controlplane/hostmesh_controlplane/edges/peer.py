"""Who is at the other end of a stream: read from certificate and socket, never from what it says.

Both services of :15012 begin here. The TLS handshake has verified the chain already (the server
demands a client certificate); what is left is to read its one URI SAN and its end.
"""

import ipaddress
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio
from cryptography import x509

from hostmesh_core.errors import BadInput, Refused
from hostmesh_core.ids import SpiffeId


class UnknownPeer(Refused):
    """The stream's certificate does not say who this is: the stream ends with UNAUTHENTICATED."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The authenticated other side of one stream."""

    spiffe: SpiffeId
    serial: int
    """Serial number of the leaf certificate."""
    not_after: float
    """Unix seconds; the stream ends then."""
    address: str
    """IP address in canonical text, an IPv4 one mapped into IPv6 given as IPv4; empty on unix."""
    stream_id: str
    """128 random bits in hex, made here: names this stream in `Applied` and in the tables."""


def peer_of(context: grpc.aio.ServicerContext[Any, Any]) -> Peer:
    """Read the peer of a stream on the mutual TLS listener.

    Raises UnknownPeer where the certificate is missing or has not exactly one SPIFFE URI.
    """
    return peer_from(context.auth_context(), context.peer())


def peer_from(auth: Mapping[str, Iterable[bytes]], transport: str) -> Peer:
    """Build from gRPC's auth context and its text for the other side. Raises UnknownPeer."""
    pem = next(iter(auth.get("x509_pem_cert", ())), None)
    if pem is None:
        raise UnknownPeer(f"cannot accept the stream from {transport}: it has no certificate")
    try:
        leaf = x509.load_pem_x509_certificate(pem)
        spiffe = _spiffe_of(leaf)
    except (ValueError, x509.ExtensionNotFound, BadInput) as error:
        raise UnknownPeer(
            f"cannot accept the stream from {transport}: its certificate has no usable SPIFFE id"
        ) from error
    return Peer(
        spiffe=spiffe,
        serial=leaf.serial_number,
        not_after=leaf.not_valid_after_utc.timestamp(),
        address=address_of(transport),
        stream_id=secrets.token_hex(16),
    )


def _spiffe_of(leaf: x509.Certificate) -> SpiffeId:
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        # X.509-SVID section 2: exactly one, or it is nobody's.
        raise ValueError(f"{len(uris)} URI names instead of one")
    return SpiffeId.parse(uris[0])


def address_of(transport: str) -> str:
    """Give the IP address in gRPC's text for a peer, in canonical form; empty where it has none."""
    kind, _, rest = transport.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    # gRPC percent-encodes the brackets (and the % of a zone) in its URI form.
    rest = rest.replace("%5B", "[").replace("%5D", "]").replace("%25", "%")
    host = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
