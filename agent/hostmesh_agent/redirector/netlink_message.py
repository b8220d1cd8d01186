"""How a netlink message is written and read (netlink(7)): headers, attributes. Pure.

What is read comes from the kernel, and is still never trusted to be whole: what does not fit ends
the reading.
"""

import os
import struct
from collections.abc import Iterator

NETFILTER = 12
REQUEST, ACK = 0x1, 0x4
ERROR, DONE = 2, 3
HEADER = 16
_KIND = 0x3FFF
"""Without the bits that say "nested" and "in network order"."""


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Give a message with its header."""
    return struct.pack("=IHHII", HEADER + len(body), kind, flags, sequence, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give (kind, body) of each whole message of a datagram."""
    while len(data) >= HEADER:
        length, kind = struct.unpack_from("=IH", data)
        if not HEADER <= length <= len(data):
            return
        yield kind, data[HEADER:length]
        data = data[(length + 3) & ~3 :]


def attribute(kind: int, value: bytes) -> bytes:
    """Give one attribute, padded."""
    packed = struct.pack("=HH", 4 + len(value), kind) + value
    return packed + b"\0" * (-len(packed) % 4)


def text(kind: int, value: str) -> bytes:
    """Give a text attribute."""
    return attribute(kind, os.fsencode(value) + b"\0")


def attributes(data: bytes) -> dict[int, bytes]:
    """Read a run of attributes: kind to value."""
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & _KIND] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found
