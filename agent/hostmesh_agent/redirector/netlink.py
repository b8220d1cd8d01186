"""Hears from the kernel that somebody changed rules or routes; takes away what iptables leaves.

Hearing costs nothing while nothing happens, where asking every second would start six programs.
"""

import os
import select
import socket
import struct
from collections.abc import Iterable, Sequence

from hostmesh_agent.redirector.netlink_message import (
    ACK,
    DONE,
    ERROR,
    NETFILTER,
    REQUEST,
    attributes,
    message,
    messages,
    text,
)

_ROUTE = 0
_NFNLGRP_NFTABLES = 7
_RTNLGRP_LINK, _RTNLGRP_IPV4_IFADDR, _RTNLGRP_IPV4_ROUTE = 1, 5, 7
_RTNLGRP_IPV6_IFADDR, _RTNLGRP_IPV6_ROUTE = 9, 11

_BATCH_BEGIN, _BATCH_END = 16, 17
_NFNL_SUBSYS_NFTABLES = 10
_NFT_GETTABLE, _NFT_DELTABLE = (10 << 8) | 1, (10 << 8) | 2
_NFT_GETCHAIN, _NFT_DELCHAIN = (10 << 8) | 4, (10 << 8) | 5
_NONREC, _DUMP = 0x100, 0x300
_TABLE_NAME, _CHAIN_TABLE, _CHAIN_NAME = 1, 1, 3
_CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_USE, _CHAIN_TYPE, _HOOK_NUMBER = 4, 5, 6, 7, 1
_HOOK_INPUT, _DROP = struct.pack(">I", 1), struct.pack(">I", 0)
_FAMILY_NAMES = {1: "inet", 2: "ip", 10: "ip6", 5: "netdev", 7: "bridge", 3: "arp"}
_NUMBERS = {0: 0, 4: int(socket.AF_INET), 6: int(socket.AF_INET6)}


def listener() -> list[socket.socket]:
    """Open sockets that become readable when something changes; none where the kernel refuses."""
    opened = []
    groups = {
        NETFILTER: (_NFNLGRP_NFTABLES,),
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


def chains(family: int, table: str) -> frozenset[str] | None:
    """Name the chains of an nft table; None where there is no such table (or no nftables).

    iptables-save cannot tell: it prints built-in chains that are not there.
    """
    found: set[str] = set()
    seen = False
    for body in _dump(_NFT_GETCHAIN, family):
        chain = _texts(body[4:])
        if chain.get(_CHAIN_TABLE) == table:
            seen = True
            found.add(chain[_CHAIN_NAME])
    if not seen:
        seen = any(
            _texts(body[4:]).get(_TABLE_NAME) == table for body in _dump(_NFT_GETTABLE, family)
        )
    return frozenset(found) if seen else None


def input_filters() -> list[str]:
    """Name the nft tables that filter inbound traffic and are not iptables' own: `inet firewalld`.

    Only chains with a policy or rules of their own count: an empty one filters nothing.
    """
    found = set()
    for body in _dump(_NFT_GETCHAIN, 0):
        chain = attributes(body[4:])
        if chain.get(_CHAIN_TYPE, b"").rstrip(b"\0") != b"filter":
            continue
        hook = attributes(chain.get(_CHAIN_HOOK, b"")).get(_HOOK_NUMBER, b"")
        table = os.fsdecode(chain.get(_CHAIN_TABLE, b"").rstrip(b"\0"))
        used = any(chain.get(_CHAIN_USE, b"")) or chain.get(_CHAIN_POLICY) == _DROP
        family = _FAMILY_NAMES.get(body[0], "")
        if hook == _HOOK_INPUT and used and not (family in ("ip", "ip6") and table == "filter"):
            found.add(f"{family} {table}")
    return sorted(found)


def drop(family: int, table: str, chains: Iterable[str], *, with_table: bool) -> bool:
    """Delete chains that hold no rule, and their table, in one transaction.

    iptables leaves its empty built-in chains behind, and `nft delete` would take along a rule that
    somebody put there meanwhile; here the kernel refuses that (NLM_F_NONREC) and False is given.
    """
    deletions = [
        (_NFT_DELCHAIN, text(_CHAIN_TABLE, table) + text(_CHAIN_NAME, chain)) for chain in chains
    ]
    if with_table:
        deletions.append((_NFT_DELTABLE, text(_TABLE_NAME, table)))
    return not deletions or _transaction(family, deletions)


def _dump(kind: int, family: int) -> list[bytes]:
    """Ask for all objects of a kind; each answer's bytes after the netlink header."""
    request = message(kind, REQUEST | _DUMP, 1, struct.pack(">BBH", _NUMBERS[family], 0, 0))
    found: list[bytes] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as asking:
            asking.bind((0, 0))
            asking.sendall(request)
            while select.select([asking], [], [], 2.0)[0]:
                for answer, body in messages(asking.recv(1 << 20)):
                    if answer in (ERROR, DONE):
                        return found
                    found.append(body)
    except OSError:
        return found
    return found


def _texts(data: bytes) -> dict[int, str]:
    """Read the text attributes of an answer; others come out as whatever their bytes spell."""
    found = attributes(data)
    return {kind: os.fsdecode(value.rstrip(b"\0")) for kind, value in found.items()}


def _transaction(family: int, deletions: Sequence[tuple[int, bytes]]) -> bool:
    """Delete all or nothing; False where the kernel says no."""
    batch = struct.pack(">BBH", 0, 0, _NFNL_SUBSYS_NFTABLES)
    head = struct.pack(">BBH", _NUMBERS[family], 0, 0)
    parts = [message(_BATCH_BEGIN, REQUEST, 0, batch)]
    for sequence, (kind, body) in enumerate(deletions, 1):
        parts.append(message(kind, REQUEST | ACK | _NONREC, sequence, head + body))
    parts.append(message(_BATCH_END, REQUEST, len(deletions) + 1, batch))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as asking:
        asking.bind((0, 0))
        asking.sendall(b"".join(parts))
        return _acknowledged(asking, len(deletions))


def _acknowledged(asking: socket.socket, expected: int) -> bool:
    """Read the answers: error 0 for each message, or an errno."""
    seen = 0
    while seen < expected:
        if not select.select([asking], [], [], 2.0)[0]:
            return False
        for kind, body in messages(asking.recv(1 << 16)):
            if kind == ERROR and any(body[:4]):
                return False
            seen += kind == ERROR
    return True
