import pytest
from envoy.config.core.v3 import base_pb2

from hostmesh_controlplane.logic.render import encoding


def test_maps_are_encoded_in_one_order() -> None:
    one, two = base_pb2.Metadata(), base_pb2.Metadata()
    for key in "abcdefgh":
        one.filter_metadata[key].update({"x": 1})
    for key in "hgfedcba":
        two.filter_metadata[key].update({"x": 1})
    assert encoding.encode(one) == encoding.encode(two)


@pytest.mark.parametrize(
    ("value", "whole", "nanos"),
    [(0.5, 0, 500_000_000), (0, 0, 0), (600, 600, 0), (1.25, 1, 250_000_000)],
)
def test_durations(value: float, whole: int, nanos: int) -> None:
    made = encoding.seconds(value)
    assert (made.seconds, made.nanos) == (whole, nanos)


@pytest.mark.parametrize(
    ("text", "prefix", "length"),
    [
        ("10.0.0.1", "10.0.0.1", 32),
        ("fd00::1", "fd00::1", 128),
        ("240.240.0.0/16", "240.240.0.0", 16),
    ],
)
def test_ranges(text: str, prefix: str, length: int) -> None:
    made = encoding.cidr(text)
    assert (made.address_prefix, made.prefix_len.value) == (prefix, length)


def test_waiting_for_ever_is_stated() -> None:
    assert encoding.ads(wait_for_ever=True).HasField("initial_fetch_timeout")
    assert not encoding.ads().HasField("initial_fetch_timeout")


def test_an_extension_carries_its_type() -> None:
    made = encoding.extension("a", base_pb2.Metadata())
    assert made.typed_config.type_url == "type.googleapis.com/envoy.config.core.v3.Metadata"


def test_every_address_is_both_families_where_there_are_two() -> None:
    both, four = encoding.any_address(80, True), encoding.any_address(80, False)  # noqa: FBT003
    assert (both.socket_address.address, both.socket_address.ipv4_compat) == ("::", True)
    assert (four.socket_address.address, four.socket_address.ipv4_compat) == ("0.0.0.0", False)
