import pytest

from hostmesh_controlplane.logic.claimant import (
    Claimant,
    no_address,
    one_per_family,
    own_addresses,
)
from hostmesh_core.grant import Grant

HOST = "7f3a" + "0" * 28


def claimant(
    source: str, interfaces: str = "", *, cidrs: tuple[str, ...] = (), proven: str = ""
) -> Claimant:
    return Claimant(
        host_id=HOST,
        grant=Grant(cidrs=cidrs),
        source=source,
        proven=frozenset({source, *proven.split()} - {""}),
        interfaces=frozenset(interfaces.split()),
    )


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        pytest.param(claimant("10.0.0.4"), ("10.0.0.4",), id="an agent that names no interface"),
        pytest.param(
            claimant("10.0.0.4", "10.0.0.4 10.9.0.4 fd00::4", proven="fd00::4"),
            ("10.0.0.4", "fd00::4"),
            id="what its streams come from, one per family",
        ),
        pytest.param(
            claimant("203.0.113.9", "10.0.0.4 fd00::4", proven="fd00::4"),
            ("fd00::4",),
            id="NAT in one family: the other one counts",
        ),
        pytest.param(claimant("203.0.113.9", "10.0.0.4"), (), id="NAT: a router's is not its own"),
        pytest.param(
            claimant("203.0.113.9", "10.0.0.4 172.17.0.1", cidrs=("10.0.0.0/8",)),
            ("10.0.0.4",),
            id="NAT: the one that the grant covers",
        ),
        pytest.param(claimant("", "10.0.0.4"), (), id="no stream yet"),
    ],
)
def test_which_addresses_are_a_host_s_own(host: Claimant, expected: tuple[str, ...]) -> None:
    assert own_addresses(host) == expected


def test_an_address_that_no_interface_has_any_more_is_not_the_host_s() -> None:
    moved = claimant("10.0.0.9", "10.0.0.9 fd00::4", proven="10.0.0.4 fd00::4")
    assert moved.has == {"10.0.0.9", "fd00::4"}
    assert own_addresses(moved) == ("10.0.0.9", "fd00::4")
    assert claimant("10.0.0.9", proven="10.0.0.4").has == {"10.0.0.9", "10.0.0.4"}


def test_nat_is_told_with_what_was_seen_and_the_command() -> None:
    said = no_address(claimant("203.0.113.9", "10.0.0.4 fd00::4"))
    assert (
        "sees 203.0.113.9, which no interface of this host has (it has 10.0.0.4, fd00::4)" in said
    )
    assert f"hostmesh host grant {HOST} --add-cidr 10.0.0.4/32" in said
    assert "set services[].address" in said
    assert no_address(claimant("", "10.0.0.4")) == "the control plane sees no address of this host"


def test_the_first_of_each_family_counts() -> None:
    assert one_per_family(["fd00::2", "10.0.0.2", "10.0.0.1", "fd00::1"]) == ("10.0.0.2", "fd00::2")
