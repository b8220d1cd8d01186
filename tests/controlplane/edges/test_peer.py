import pytest

from hostmesh_controlplane.edges import peer
from hostmesh_core.ids import SpiffeId
from hostmesh_testing import certificates

HOST = "spiffe://mesh.internal/hostmesh/host/" + "a" * 32


@pytest.mark.parametrize(
    ("transport", "address"),
    [
        pytest.param("ipv4:10.1.0.4:4711", "10.1.0.4", id="IPv4"),
        pytest.param("ipv6:[fd00::4]:4711", "fd00::4", id="IPv6"),
        pytest.param("ipv6:%5Bfd00::4%5D:4711", "fd00::4", id="IPv6 as gRPC encodes it"),
        pytest.param("ipv6:%5B::ffff:10.1.0.4%5D:4711", "10.1.0.4", id="IPv4 mapped into IPv6"),
        pytest.param("ipv6:%5Bfe80::1%25eth0%5D:4711", "fe80::1", id="IPv6 with a zone"),
        pytest.param("ipv6:[FD00:0::4]:1", "fd00::4", id="IPv6 that is not canonical"),
        pytest.param("unix:", "", id="a unix socket has none"),
        pytest.param("ipv4:nonsense", "", id="nonsense has none"),
    ],
)
def test_address(transport: str, address: str) -> None:
    assert peer.address_of(transport) == address


def test_a_certificate_says_who_it_is() -> None:
    leaf = certificates.authority().leaf(uris=(HOST,))
    got = peer.peer_from({"x509_pem_cert": [leaf.chain_pem]}, "ipv4:10.0.0.1:4711")
    assert got.spiffe == SpiffeId.parse(HOST)
    assert got.serial == leaf.serial
    assert got.address == "10.0.0.1"


def test_two_streams_of_one_peer_have_two_ids() -> None:
    auth = {"x509_pem_cert": [certificates.authority().leaf(uris=(HOST,)).chain_pem]}
    first, second = (peer.peer_from(auth, "ipv4:10.0.0.1:1") for _ in range(2))
    assert first.stream_id != second.stream_id


@pytest.mark.parametrize(
    "uris",
    [
        pytest.param((), id="no name at all"),
        pytest.param((HOST, "spiffe://mesh.internal/ns/a/sa/b"), id="two ids"),
        pytest.param(("https://mesh.internal/",), id="a URI that is no SPIFFE id"),
    ],
)
def test_a_certificate_that_names_nobody_is_refused(uris: tuple[str, ...]) -> None:
    leaf = certificates.authority().leaf(uris=uris)
    with pytest.raises(peer.UnknownPeer, match=r"^cannot accept the stream from ipv4:10.0.0.1:1"):
        peer.peer_from({"x509_pem_cert": [leaf.chain_pem]}, "ipv4:10.0.0.1:1")


def test_no_certificate_is_refused() -> None:
    with pytest.raises(peer.UnknownPeer, match="it has no certificate"):
        peer.peer_from({}, "ipv4:10.0.0.1:1")
