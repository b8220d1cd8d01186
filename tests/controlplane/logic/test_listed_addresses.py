import pytest

from hostmesh_controlplane.logic import listed_addresses
from hostmesh_core.ids import EndpointKey

VIRTUAL = listed_addresses.networks(("240.240.0.0/16", "fd48:6d65:7368::/64", "10.200.0.0/16"))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        pytest.param("10.0.0.1", "", id="private"),
        pytest.param("100.64.0.1", "", id="shared"),
        pytest.param("203.0.113.9", "", id="public"),
        pytest.param("fd77::5", "", id="unique local"),
        pytest.param("2a00:1450::1", "", id="public IPv6"),
        pytest.param("10.200.3.4", "virtual address", id="a configured range"),
        pytest.param("127.9.9.9", "the caller's own machine", id="loopback"),
        pytest.param("0.1.2.3", "the caller's own machine", id="this network"),
        pytest.param("169.254.169.254", "the caller's own machine or link", id="link-local"),
        pytest.param("239.1.1.1", "no host's", id="multicast"),
        pytest.param("250.1.1.1", "no host's", id="reserved"),
        pytest.param("100::1", "no host's", id="discard"),
        pytest.param("2001::1", "carries an IPv4 address", id="teredo"),
    ],
)
def test_what_may_be_listed(address: str, words: str) -> None:
    said = listed_addresses.refused(EndpointKey.of(address, 80), VIRTUAL)
    assert words in said
    assert bool(said) == bool(words)
