import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_core.addresses import is_ip, split_host_port


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("cp1.example.net:15012", ("cp1.example.net", 15012), id="a name"),
        pytest.param("CP1.Example.net:1", ("cp1.example.net", 1), id="a name in capitals"),
        pytest.param("10.0.0.1:65535", ("10.0.0.1", 65535), id="IPv4"),
        pytest.param("[fd00:0::1]:80", ("fd00::1", 80), id="IPv6 in brackets, made canonical"),
        pytest.param("localhost", ("localhost", 9), id="a name without port"),
        pytest.param("10.0.0.1", ("10.0.0.1", 9), id="IPv4 without port"),
        pytest.param("[::1]", ("::1", 9), id="IPv6 in brackets without port"),
        pytest.param("fd00::1", ("fd00::1", 9), id="IPv6 alone, where no port can be meant"),
    ],
)
def test_reads(text: str, found: tuple[str, int]) -> None:
    assert split_host_port(text, default_port=9) == found


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(":80", id="no host"),
        pytest.param("host:", id="no port after the colon"),
        pytest.param("host:0", id="port 0"),
        pytest.param("host:65536", id="a port too large"),
        pytest.param("host:\uff18\uff10", id="digits of another script"),
        pytest.param("host:8x", id="letters in the port"),
        pytest.param("a_b:80", id="no DNS name"),
        pytest.param("10.0.0.256:80", id="no IPv4 address"),
        pytest.param("[10.0.0.1]:80", id="IPv4 in brackets"),
        pytest.param("[::1:80", id="a bracket that never ends"),
        pytest.param("fd00::1:80x", id="IPv6 without brackets"),
        pytest.param("http://host:80", id="a URL"),
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        split_host_port(text, default_port=9)


def test_the_port_has_to_be_stated_where_there_is_no_default() -> None:
    with pytest.raises(ValueError, match="expected host:port, not 'host'"):
        split_host_port("host")


@given(address=st.ip_addresses(), port=st.integers(1, 65535))
def test_reads_back_every_address(address: object, port: int) -> None:
    text = f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"
    assert split_host_port(text) == (str(address), port)
    assert is_ip(str(address))


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        host, port = split_host_port(text, default_port=1)
    except ValueError:
        host, port = "refused", 1
    assert host
    assert 0 < port < 65536
