"""What a source's writer floods with is bounded, named, and at nobody else's cost."""

from hostmesh_controlplane.config import ConsulSource
from hostmesh_controlplane.events.catalogs import ConsulFacts, ConsulNames, ConsulUnread
from hostmesh_testing.played_catalogs import Played

SMALL = ConsulSource(name="dc1", settle_seconds=0.1, max_endpoints_per_service=3, max_endpoints=4)


def test_endpoints_beyond_the_limit_are_left_out_and_the_earlier_ones_stay() -> None:
    played = Played((SMALL,))
    played.healthy()
    played.consul(2, index=1)
    played.consul(9, index=2)
    assert played.count() == 3
    assert "endpoints are left out" in played.detail()
    played.consul(2, index=3)
    assert played.count() == 2
    assert played.detail() == ""


def test_a_service_that_is_not_read_keeps_its_view_and_is_named() -> None:
    played = Played((SMALL,))
    played.healthy()
    played.consul(2, index=1)
    played.catalogs.take("dc1", ConsulUnread("dc1", "reviews", "cannot read reviews: too large"))
    assert (played.count(), played.detail()) == (2, "cannot read reviews: too large")
    played.consul(3, index=2)
    assert (played.count(), played.detail()) == (3, "")


def test_names_that_are_left_out_are_told_until_they_are_not() -> None:
    played = Played((SMALL,))
    played.healthy()
    facts = ConsulFacts(1)
    played.catalogs.take("dc1", ConsulNames("dc1", ("reviews",), facts, ("f1", "f2")))
    assert played.detail().startswith("2 Consul services are left out (f1, f2): ")
    played.catalogs.take("dc1", ConsulNames("dc1", ("reviews",), facts))
    assert played.detail() == ""
