import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_core.errors import BadInput
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId, is_dns_label, is_dns_name

HOST_ID = "0123456789abcdef" * 2
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize("text", ["a", "a-1", "1a", "x" * 63])
def test_labels(text: str) -> None:
    assert is_dns_label(text)
    assert is_dns_name(f"{text}.example.net")


@pytest.mark.parametrize("text", ["", "A", "-a", "a-", "a_b", "x" * 64, "ä", "a\n"])
def test_no_labels(text: str) -> None:
    assert not is_dns_label(text)
    assert not is_dns_name(f"{text}.net")


def test_a_name_has_an_end() -> None:
    assert not is_dns_name("a." * 127)
    assert not is_dns_name("a.")
    assert is_dns_name(".".join(["a" * 49] * 5))
    assert not is_dns_name(".".join(["a" * 50] * 5))


@given(namespace=LABELS, account=LABELS)
def test_identities_are_read_back(namespace: str, account: str) -> None:
    identity = Identity(namespace, account)
    assert Identity.parse(str(identity)) == identity
    spiffe = SpiffeId.of_workload("mesh.internal", identity)
    assert SpiffeId.parse(str(spiffe)) == spiffe
    assert spiffe.identity == identity
    assert spiffe.host_id is None


@pytest.mark.parametrize("text", ["web", "a/b/c", "/web", "shop/", "Shop/web", "shop/w_b", ""])
def test_what_is_no_identity(text: str) -> None:
    with pytest.raises(BadInput, match=r"^cannot read identity"):
        Identity.parse(text)


def test_a_hosts_id_is_no_workloads() -> None:
    spiffe = SpiffeId.of_host("mesh.internal", HOST_ID)
    assert str(spiffe) == f"spiffe://mesh.internal/hostmesh/host/{HOST_ID}"
    assert (spiffe.host_id, spiffe.identity) == (HOST_ID, None)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/hostmesh/host/xyz", id="no hexadecimal id"),
        pytest.param(f"/hostmesh/host/{HOST_ID}/more", id="more behind it"),
        pytest.param("/ns/shop/sa/w_b", id="no label"),
        pytest.param("/ns/shop/sa/web/x", id="a longer path"),
        pytest.param("", id="a trust domain alone"),
    ],
)
def test_other_paths_are_neither(path: str) -> None:
    spiffe = SpiffeId.parse(f"spiffe://mesh.internal{path}")
    assert (spiffe.host_id, spiffe.identity) == (None, None)


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("https://mesh.internal/ns/a/sa/b", id="another scheme"),
        pytest.param("spiffe:/mesh.internal/a", id="one slash"),
        pytest.param("spiffe://Mesh.internal/a", id="capitals"),
        pytest.param("spiffe://mesh.internal:80/a", id="a port"),
        pytest.param("spiffe://user@mesh.internal/a", id="a user"),
        pytest.param("spiffe://mesh.internal/", id="a slash at the end"),
        pytest.param("spiffe://mesh.internal/a//b", id="an empty segment"),
        pytest.param("spiffe://mesh.internal/a/../b", id="a segment up"),
        pytest.param("spiffe://mesh.internal/a/./b", id="a dot"),
        pytest.param("spiffe://mesh.internal/" + "a" * 2048, id="too long"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_is_no_spiffe_id(uri: str) -> None:
    with pytest.raises(BadInput, match=r"^cannot read SPIFFE id"):
        SpiffeId.parse(uri)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        pytest.param(EndpointKey.of("10.0.0.1", 80), "10.0.0.1:80", id="IPv4"),
        pytest.param(EndpointKey.of("FD00:0::1", 80), "[fd00::1]:80", id="IPv6 made canonical"),
        pytest.param(
            EndpointKey.of("::ffff:10.0.0.1", 80), "10.0.0.1:80", id="mapped is the same socket"
        ),
        pytest.param(EndpointKey.of("10.0.0.1", 80, network="n2"), "n2/10.0.0.1:80", id="network"),
    ],
)
def test_endpoint_keys(key: EndpointKey, text: str) -> None:
    assert str(key) == text


@pytest.mark.parametrize(
    ("address", "port"),
    [("web", 80), ("10.0.0.256", 80), ("10.0.0.1", 0), ("10.0.0.1", 65536), ("", 80)],
)
def test_what_is_no_endpoint(address: str, port: int) -> None:
    with pytest.raises(BadInput, match=r"^cannot use endpoint"):
        EndpointKey.of(address, port)
