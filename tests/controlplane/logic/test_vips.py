import pytest

from hostmesh_controlplane.logic.vips import (
    VipRanges,
    VipRecord,
    WantedVip,
    address_key,
    allocate,
    candidates,
    host_key,
)
from hostmesh_core.errors import BadInput

SMALL = VipRanges("240.240.0.0/28", "fd48:6d65:7368::/64")


def test_every_replica_wants_the_same_pair_for_a_host() -> None:
    one = allocate(WantedVip("reviews.default.mesh.internal", 9080), ranges=VipRanges(), taken=())
    other = allocate(WantedVip("reviews.default.mesh.internal", 9080), ranges=VipRanges(), taken=())
    assert one == other
    assert one.port == 9080


def test_the_two_families_are_one_place() -> None:
    assert SMALL.pair(0) == ("240.240.0.1", "fd48:6d65:7368::1")
    assert SMALL.pair(SMALL.size - 1) == ("240.240.0.14", "fd48:6d65:7368::e")


def test_a_taken_place_is_passed_over() -> None:
    first, second, *_ = candidates("a.example", SMALL)
    assert allocate(WantedVip("a.example"), ranges=SMALL, taken={first[0]}).vip4 == second[0]


def test_every_place_is_tried_once_and_then_the_range_is_full() -> None:
    places = [four for four, _ in candidates("a.example", SMALL)]
    assert len(set(places)) == len(places) == 14
    assert "240.240.0.0" not in places
    with pytest.raises(
        BadInput, match=r"cannot give a\.example a virtual address: all 14 .*; widen vip4_range$"
    ):
        allocate(WantedVip("a.example"), ranges=SMALL, taken=set(places))


@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param(VipRanges("240.240.0.1/16"), id="host bits"),
        pytest.param(VipRanges("fd48::/64"), id="the wrong family"),
        pytest.param(VipRanges("240.240.0.0/31"), id="no room"),
    ],
)
def test_ranges_that_cannot_be_used(ranges: VipRanges) -> None:
    with pytest.raises(BadInput, match="cannot use vip4_range"):
        allocate(WantedVip("a.example"), ranges=ranges, taken=())


def test_records_survive_the_store() -> None:
    record = VipRecord("240.240.0.1", "fd48::1", 9080)
    assert VipRecord.from_bytes(record.to_bytes()) == record
    assert (address_key("240.240.0.1"), host_key("a.b")) == ("address/240.240.0.1", "host/a.b")
