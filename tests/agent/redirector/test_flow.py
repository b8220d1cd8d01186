import errno
import ipaddress
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_agent.redirector import flow
from hostmesh_agent.redirector import netlink_message as netlink
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.flow import Entry, Flow

V4 = Flow(
    Family.V4,
    ipaddress.ip_address("10.0.0.1").packed,
    40001,
    ipaddress.ip_address("10.0.0.2").packed,
    9080,
)
V6 = Flow(
    Family.V6,
    ipaddress.ip_address("fd00::1").packed,
    40001,
    ipaddress.ip_address("fd00::2").packed,
    9080,
)
SYN, ACK, SYN_ACK, SYN_ECN = 0x02, 0x10, 0x12, 0xC2


def packet(of: Flow, flags: int = SYN, protocol: int = 6, options: bytes = b"") -> bytes:
    """Give the beginning of a packet, as the kernel copies it."""
    tcp = struct.pack(">HHIIBBHHH", of.source_port, of.destination_port, 1, 0, 0x50, flags, 9, 0, 0)
    if of.family is Family.V6:
        return struct.pack(">IHBB", 6 << 28, 20, protocol, 64) + of.source + of.destination + tcp
    first = 0x45 + len(options) // 4
    head = struct.pack(">BBHHHBBH", first, 0, 40, 1, 0x4000, 64, protocol, 0)
    return head + of.source + of.destination + options + tcp


def log(*packets: bytes, kind: int = flow.LOG_PACKET) -> bytes:
    """Give a datagram of the log."""
    parts = []
    for each in packets:
        about = netlink.attribute(1, b"\x08\x00\x03\x00") + netlink.attribute(10, b"\0")
        body = struct.pack(">BBH", 2, 0, 61000) + about + netlink.attribute(9, each)
        whole = netlink.message(kind, 0, 0, body)
        parts.append(whole + b"\0" * (-len(whole) % 4))
    return b"".join(parts)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(packet(V4), [V4], id="IPv4"),
        pytest.param(packet(V6), [V6], id="IPv6"),
        pytest.param(packet(V4, SYN_ECN), [V4], id="that asks for congestion notification"),
        pytest.param(packet(V4, options=b"\x01" * 8), [V4], id="IPv4 with options"),
        pytest.param(packet(V4, ACK), [], id="an established one's"),
        pytest.param(packet(V4, SYN_ACK), [], id="an answer"),
        pytest.param(packet(V4, protocol=17), [], id="no TCP"),
        pytest.param(packet(V6, protocol=0), [], id="IPv6 with another header between"),
        pytest.param(packet(V4)[:30], [], id="cut"),
        pytest.param(b"\x40" + packet(V4)[1:], [], id="a header that says it has no length"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_which_flow_a_logged_packet_is_of(data: bytes, found: list[Flow]) -> None:
    assert list(flow.logged(log(data))) == found


def test_a_datagram_of_several() -> None:
    assert list(flow.logged(log(packet(V4), b"x", packet(V6)))) == [V4, V6]
    assert list(flow.logged(log(packet(V4), kind=77))) == []


@given(st.binary(max_size=200), st.integers(0, 60))
def test_nothing_that_comes_ends_the_reading_with_an_error(data: bytes, at: int) -> None:
    good = log(packet(V4))
    for each in (data, good[:at] + data, log(data)):
        list(flow.logged(each))
        flow.entry(each)
        flow.done(each)
        flow.refusal(each)


@pytest.mark.parametrize(
    ("status", "redirected"),
    [
        pytest.param(0x0E, False, id="as it was"),
        pytest.param(0x1AE, True, id="its destination translated"),
        pytest.param(0x19E, False, id="its source translated: it still goes its own way"),
    ],
)
def test_what_an_entry_is(status: int, redirected: bool) -> None:  # noqa: FBT001
    about = netlink.attribute(3, struct.pack(">I", status)) + netlink.attribute(12, b"abcd")
    answer = netlink.message(flow.CT_NEW, 0, 1, struct.pack(">BBH", 2, 0, 0) + about)
    assert flow.entry(answer) == Entry(b"abcd", redirected)


def test_what_was_refused() -> None:
    code = (-errno.ENOENT).to_bytes(4, sys.byteorder, signed=True)
    refused = netlink.message(netlink.ERROR, 0, 1, code + bytes(16))
    assert flow.entry(refused) is None
    assert not flow.done(refused)
    assert flow.refusal(refused) == errno.ENOENT
    assert flow.done(netlink.message(netlink.ERROR, 0, 1, bytes(20)))


@pytest.mark.parametrize("of", [V4, V6])
def test_what_is_forgotten_is_the_entry_that_was_found(of: Flow) -> None:
    ((kind, body),) = netlink.messages(flow.forget(of, Entry(b"abcd", redirected=False)))
    asked = netlink.attributes(body[4:])
    assert kind == flow.CT_DELETE
    assert asked[12] == b"abcd"
    ((_, same),) = netlink.messages(flow.ask(of))
    assert netlink.attributes(same[4:])[1] == asked[1]
    assert of.source in asked[1]
    assert of.destination in asked[1]


def test_a_flow_is_named_for_people() -> None:
    assert str(V6) == "fd00::1 port 40001 to fd00::2 port 9080"
