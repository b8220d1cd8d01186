"""Asks one DNS server over UDP for the IPv4 addresses of one name, as a stub resolver does.

RFC 1035. Each question goes out anew after `AGAIN_SECONDS`, `TRIES` times in all.
"""

import asyncio
import socket
import struct
from typing import cast

AGAIN_SECONDS = 1.0
TRIES = 2
RESPONSE = 0x8000
TYPE_A, CLASS_IN = 1, 1


def question(number: int, name: str) -> bytes:
    """Give the packet that asks for a name."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    head = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0)
    return head + labels + b"\0" + struct.pack("!HH", TYPE_A, CLASS_IN)


def answer(packet: bytes) -> tuple[int, list[str]]:
    """Give the number of the question and the addresses that answer it, in their order."""
    number, flags, questions, answers, _, _ = struct.unpack_from("!HHHHHH", packet)
    if not flags & RESPONSE:
        raise ValueError("no answer")
    at = 12
    for _ in range(questions):
        at = _after_name(packet, at) + 4
    found = []
    for _ in range(answers):
        at = _after_name(packet, at)
        kind, _, _, length = struct.unpack_from("!HHIH", packet, at)
        at += 10
        if kind == TYPE_A and length == 4:
            found.append(socket.inet_ntoa(packet[at : at + 4]))
        at += length
    return number, found


def _after_name(packet: bytes, at: int) -> int:
    while packet[at]:
        if packet[at] & 0xC0:
            return at + 2
        at += 1 + packet[at]
    return at + 1


class Resolver(asyncio.DatagramProtocol):
    """The questions under way to one server."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[list[str]]] = {}
        self._last = 0
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def open(cls, address: str, port: int) -> "Resolver":
        """Bind a socket for questions to one server."""
        loop = asyncio.get_running_loop()
        return (await loop.create_datagram_endpoint(cls, remote_addr=(address, port)))[1]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Of this kind by its maker; in some Pythons not by its class.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002
        number, addresses = answer(data)
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(addresses)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error is no answer: the question times out and is asked again."""

    async def ask(self, name: str) -> list[str]:
        """Give the addresses of a name. Raises OSError where nobody answers."""
        assert self._transport is not None
        for _ in range(TRIES):
            self._last = (self._last + 1) & 0xFFFF
            number = self._last
            waiting: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
            self._waiting[number] = waiting
            self._transport.sendto(question(number, name))
            try:
                return await asyncio.wait_for(waiting, AGAIN_SECONDS)
            except TimeoutError:
                continue
            finally:
                del self._waiting[number]
        raise OSError(f"no DNS answer for {name}")
