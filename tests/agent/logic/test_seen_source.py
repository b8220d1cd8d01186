import pytest

from hostmesh_agent.config import ServiceConfig
from hostmesh_agent.logic import seen_source
from hostmesh_agent.logic.seen_source import SeenSource

OWN = ("10.0.0.4", "fd00::4")


@pytest.mark.parametrize(
    ("listen", "captured", "expected"),
    [
        pytest.param("", True, {"127.0.0.6", "::6"}, id="captured"),
        pytest.param("10.0.0.4:80", True, {"127.0.0.6", "::6"}, id="captured, on an address"),
        pytest.param("127.0.0.1:80", True, {"127.0.0.1"}, id="captured, on loopback"),
        pytest.param("127.0.0.9:80", True, {"127.0.0.1"}, id="another address of loopback"),
        pytest.param("[::1]:80", False, {"::1"}, id="loopback of IPv6"),
        pytest.param("[::ffff:127.0.0.1]:80", False, {"127.0.0.1"}, id="loopback written as IPv6"),
        pytest.param("10.0.0.4:80", False, {"10.0.0.4"}, id="not captured, on an address"),
        pytest.param("", False, set(OWN), id="not captured: the address that was called"),
    ],
)
def test_where_calls_come_from(listen: str, expected: set[str], *, captured: bool) -> None:
    service = ServiceConfig(name="web", port=80, listen=listen)
    found = seen_source.seen_source(service, captured=captured, own=OWN)
    assert found.addresses == expected
    assert found.is_loopback is any(each.startswith("127.") or each == "::1" for each in expected)


@pytest.mark.parametrize(
    ("network", "within", "this_host"),
    [
        pytest.param("10.0.0.4", True, True, id="the address"),
        pytest.param("10.0.0.4/32", True, True, id="the address as a network"),
        pytest.param("10.0.0.0/8", True, False, id="a network of many hosts"),
        pytest.param("10.0.0.5", False, False, id="another address"),
        pytest.param("localhost", False, False, id="a name"),
    ],
)
def test_whom_a_rule_means(network: str, *, within: bool, this_host: bool) -> None:
    source = SeenSource("own", frozenset(OWN))
    assert source.is_within(network) is within
    assert source.stands_for_this_host(network) is this_host


def test_everybody_and_loopback_however_they_are_written() -> None:
    assert [seen_source.is_everybody(each) for each in ("0.0.0.0/0", "::0/0", "10.0.0.0/8")] == [
        True,
        True,
        False,
    ]
    assert seen_source.is_loopback("::ffff:127.0.0.1")
    assert not seen_source.is_loopback("::6")
