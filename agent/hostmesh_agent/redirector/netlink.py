"""Hears from the kernel that somebody changed rules, routes or addresses; and takes away a table.

Hearing costs nothing while nothing happens, where asking every second would start six programs.
"""

import os
import select
import socket
import struct

_NETFILTER, _ROUTE = 12, 0
_NFNLGRP_NFTABLES = 7
_RTNLGRP_LINK, _RTNLGRP_IPV4_IFADDR, _RTNLGRP_IPV4_ROUTE = 1, 5, 7
_RTNLGRP_IPV6_IFADDR, _RTNLGRP_IPV6_ROUTE = 9, 11

_BATCH_BEGIN, _BATCH_END = 16, 17
_NFNL_SUBSYS_NFTABLES = 10
_NFT_DELTABLE, _NFT_DELCHAIN = (10 << 8) | 2, (10 << 8) | 5
_REQUEST, _ACK, _NONREC = 0x1, 0x4, 0x100
_TABLE_NAME, _CHAIN_TABLE, _CHAIN_NAME = 1, 1, 3
_ERROR = 2


def listener() -> list[socket.socket]:
    """Open sockets that become readable when something changes; none where the kernel refuses."""
    opened = []
    groups = {
        _NETFILTER: (_NFNLGRP_NFTABLES,),
        _ROUTE: (
            _RTNLGRP_LINK,
            _RTNLGRP_IPV4_IFADDR,
            _RTNLGRP_IPV4_ROUTE,
            _RTNLGRP_IPV6_IFADDR,
            _RTNLGRP_IPV6_ROUTE,
        ),
    }
    for protocol, numbers in groups.items():
        try:
            hearing = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol
            )
            hearing.bind((0, sum(1 << (number - 1) for number in numbers)))
        except OSError:
            continue
        opened.append(hearing)
    return opened


def drain(hearing: socket.socket) -> None:
    """Read and forget everything: that something changed is all that is asked."""
    while True:
        try:
            if not hearing.recv(1 << 16):
                return
        except BlockingIOError:
            return
        except OSError:  # overrun: messages were lost, and that too means "look again"
            continue


def drop_empty_table(family: int, name: str, chains: tuple[str, ...]) -> bool:
    """Delete an nft table and those of its chains that are there, if no chain holds a rule.

    iptables leaves its empty table behind, and `nft delete table` would take along a rule that
    somebody put there meanwhile; here the kernel refuses that (NLM_F_NONREC). False where refused.
    """
    for chain in chains:
        body = _attribute(_CHAIN_TABLE, name) + _attribute(_CHAIN_NAME, chain)
        _delete(_NFT_DELCHAIN, family, body)
    return _delete(_NFT_DELTABLE, family, _attribute(_TABLE_NAME, name))


def _delete(kind: int, family: int, body: bytes) -> bool:
    """Delete one thing in a transaction of its own; False where the kernel says no."""
    number = {4: socket.AF_INET, 6: socket.AF_INET6}[family]
    flags = _REQUEST | _ACK | _NONREC
    batch = struct.pack(">BBH", 0, 0, _NFNL_SUBSYS_NFTABLES)
    text = b"".join(
        (
            _message(_BATCH_BEGIN, _REQUEST, 0, batch),
            _message(kind, flags, 1, struct.pack(">BBH", number, 0, 0) + body),
            _message(_BATCH_END, _REQUEST, 2, batch),
        )
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as asking:
        asking.bind((0, 0))
        asking.sendall(text)
        return _acknowledged(asking)


def _acknowledged(asking: socket.socket) -> bool:
    """Read the first answer: error 0, or an errno."""
    if not select.select([asking], [], [], 2.0)[0]:
        return False
    data = asking.recv(1 << 16)
    kind, error = struct.unpack_from("=4xH10xi", data)
    return bool(kind == _ERROR and error == 0)


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def _attribute(kind: int, text: str) -> bytes:
    value = os.fsencode(text) + b"\0"
    packed = struct.pack("=HH", 4 + len(value), kind) + value
    return packed + b"\0" * (-len(packed) % 4)
