from dataclasses import replace

import pytest

from hostmesh_controlplane.logic import sightings
from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Endpoint, Health, Origin
from hostmesh_testing.catalogs import listed, service

WRITTEN = replace(listed("10.0.0.1:80"), origin=Origin(node="n7", service_id="web-1"))
FIRST = sightings.seen(None, service(WRITTEN), now=100.0)


def since(after: CatalogService) -> list[float]:
    return [endpoint.origin.since for endpoint in after.endpoints]


def test_an_endpoint_that_is_new_is_listed_since_now() -> None:
    assert since(FIRST) == [100.0]


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        pytest.param(WRITTEN, 100.0, id="listed as before"),
        pytest.param(replace(WRITTEN, weight=7), 100.0, id="another weight is no new listing"),
        pytest.param(replace(WRITTEN, held=True), 100.0, id="held is still listed"),
        pytest.param(
            replace(WRITTEN, origin=Origin(node="evil", service_id="web-1")),
            200.0,
            id="another node's word is new",
        ),
        pytest.param(
            replace(WRITTEN, origin=Origin(node="n7", service_id="web-2")),
            200.0,
            id="another id's word is new",
        ),
        pytest.param(listed("10.0.0.2:80"), 200.0, id="another address is new"),
    ],
)
def test_since_when(endpoint: CatalogEndpoint, expected: float) -> None:
    assert since(sightings.seen(FIRST, service(endpoint), now=200.0)) == [expected]


def test_a_line_that_moves_in_its_file_is_no_new_listing() -> None:
    one = replace(listed("10.0.0.1:80"), origin=Origin(file="web.yaml:9"))
    moved = replace(one, origin=Origin(file="web.yaml:12"))
    first = sightings.seen(None, service(one), now=100.0)
    assert since(sightings.seen(first, service(moved), now=200.0)) == [100.0]


def test_one_that_went_and_came_back_is_new() -> None:
    without = sightings.seen(FIRST, service(), now=150.0)
    assert since(sightings.seen(without, service(WRITTEN), now=200.0)) == [200.0]


def test_time_alone_is_no_change() -> None:
    assert sightings.seen(None, service(WRITTEN), now=100.0) == service(WRITTEN)


def test_since_when_it_is_unwell() -> None:
    ill = replace(WRITTEN, health=Health.UNHEALTHY)
    fell = sightings.seen(FIRST, service(ill), now=200.0)
    still = sightings.seen(fell, service(replace(ill, reason="other")), now=300.0)
    well = sightings.seen(still, service(WRITTEN), now=400.0)
    times = [s.endpoints[0].unwell_since for s in (FIRST, fell, still, well)]
    assert times == [0.0, 200.0, 200.0, 0.0]


def test_of_several_catalogs_the_first_sight_counts() -> None:
    origins = (("files", Origin(file="a:1", since=300.0)), ("dc1", Origin(node="n", since=60.0)))
    endpoint = Endpoint(EndpointKey.of("10.0.0.1", 80), 80, 80, origins=origins)
    assert sightings.since_text(endpoint) == "1970-01-01 00:01:00Z"
    assert sightings.since_text(replace(endpoint, origins=())) == ""
