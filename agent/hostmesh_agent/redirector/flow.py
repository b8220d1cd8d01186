"""A connection's addresses, out of a packet that the kernel logged and into what asks conntrack.

nfnetlink_log.h and nfnetlink_conntrack.h have the numbers. Pure.
"""

import errno
import ipaddress
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from hostmesh_agent.redirector import netlink_message as netlink
from hostmesh_agent.redirector.families import Family

LOG_PACKET, LOG_CONFIG = 4 << 8, (4 << 8) | 1
CT_NEW, CT_GET, CT_DELETE = 1 << 8, (1 << 8) | 1, (1 << 8) | 2
COPIED_BYTES = 128
"""Of each packet: both headers with every option that they can carry together."""
_INET = {Family.V4: 2, Family.V6: 10}
_NESTED = 0x8000
_LOG_PAYLOAD = 9
_CFG_CMD, _CFG_MODE, _CFG_THRESHOLD = 1, 2, 5
_BIND, _COPY_PACKET = 1, 2
_TUPLE, _STATUS, _ID = 1, 3, 12
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_IP = {Family.V4: (1, 2), Family.V6: (3, 4)}
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_TCP, _SYN, _SYN_MASK = 6, 0x02, 0x17
_IPS_DST_NAT = 1 << 5


@dataclass(frozen=True, slots=True)
class Flow:
    """One TCP connection, as its first packet names it."""

    family: Family
    source: bytes
    """4 or 16 bytes."""
    source_port: int
    destination: bytes
    destination_port: int

    def __str__(self) -> str:
        """Name it for the journal."""
        source, destination = map(ipaddress.ip_address, (self.source, self.destination))
        return f"{source} port {self.source_port} to {destination} port {self.destination_port}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What conntrack has of a flow."""

    identity: bytes
    redirected: bool
    """Whether the nat table has led it elsewhere."""


def listen(group: int) -> bytes:
    """Give what binds to a log group: little of each packet, and each one at once."""
    body = (
        netlink.attribute(_CFG_CMD, bytes([_BIND]))
        + netlink.attribute(_CFG_MODE, struct.pack(">IBB", COPIED_BYTES, _COPY_PACKET, 0))
        + netlink.attribute(_CFG_THRESHOLD, struct.pack(">I", 1))
    )
    head = struct.pack(">BBH", 0, 0, group)
    return netlink.message(LOG_CONFIG, netlink.REQUEST | netlink.ACK, 1, head + body)


def logged(datagram: bytes) -> Iterator[Flow]:
    """Give the flow of each logged packet; what is no first packet of TCP is left out."""
    for kind, body in netlink.messages(datagram):
        if kind == LOG_PACKET:
            packet = netlink.attributes(body[4:]).get(_LOG_PAYLOAD, b"")
            if (flow := _flow(packet)) is not None:
                yield flow


def _flow(packet: bytes) -> Flow | None:
    version = packet[0] >> 4 if packet else 0
    if version == Family.V4:
        header, protocol = (packet[0] & 0xF) * 4, packet[9:10]
        source, destination = packet[12:16], packet[16:20]
        family, shortest = Family.V4, 20
    elif version == Family.V6:
        header, protocol = 40, packet[6:7]
        source, destination = packet[8:24], packet[24:40]
        family, shortest = Family.V6, 40
    else:
        return None
    tcp = packet[header:]
    if header < shortest or len(tcp) < 14 or protocol != bytes([_TCP]):
        return None
    if tcp[13] & _SYN_MASK != _SYN:
        return None
    return Flow(family, source, _port(tcp[:2]), destination, _port(tcp[2:4]))


def _port(data: bytes) -> int:
    return int.from_bytes(data, "big")


def ask(flow: Flow) -> bytes:
    """Give what asks for a flow's entry."""
    return netlink.message(CT_GET, netlink.REQUEST, 1, _head(flow) + _tuple(flow))


def entry(datagram: bytes) -> Entry | None:
    """Read the answer; None where there is no such entry."""
    for kind, body in netlink.messages(datagram):
        found = netlink.attributes(body[4:])
        if kind == CT_NEW and len(found.get(_ID, b"")) == 4 and len(found.get(_STATUS, b"")) == 4:
            redirected = int.from_bytes(found[_STATUS], "big") & _IPS_DST_NAT != 0
            return Entry(found[_ID], redirected)
    return None


def forget(flow: Flow, known: Entry) -> bytes:
    """Give what deletes that entry, and none that has taken its place meanwhile."""
    body = _head(flow) + _tuple(flow) + netlink.attribute(_ID, known.identity)
    return netlink.message(CT_DELETE, netlink.REQUEST | netlink.ACK, 1, body)


def done(datagram: bytes) -> bool:
    """Whether the kernel has done what it was asked."""
    return any(
        kind == netlink.ERROR and body[:4] == bytes(4) for kind, body in netlink.messages(datagram)
    )


def refusal(datagram: bytes) -> int:
    """Give the errno of an answer that refuses."""
    codes = [body[:4] for kind, body in netlink.messages(datagram) if kind == netlink.ERROR]
    return -int.from_bytes(codes[0], sys.byteorder, signed=True) if codes else errno.EBADMSG


def _head(flow: Flow) -> bytes:
    return struct.pack(">BBH", _INET[flow.family], 0, 0)


def _tuple(flow: Flow) -> bytes:
    source, destination = _IP[flow.family]
    addresses = netlink.attribute(source, flow.source) + netlink.attribute(
        destination, flow.destination
    )
    protocol = (
        netlink.attribute(_NUMBER, bytes([_TCP]))
        + netlink.attribute(_SOURCE_PORT, struct.pack(">H", flow.source_port))
        + netlink.attribute(_DESTINATION_PORT, struct.pack(">H", flow.destination_port))
    )
    nested = netlink.attribute(_TUPLE_IP | _NESTED, addresses) + netlink.attribute(
        _TUPLE_PROTOCOL | _NESTED, protocol
    )
    return netlink.attribute(_TUPLE | _NESTED, nested)
