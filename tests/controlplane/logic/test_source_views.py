import json

import pytest

from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService
from hostmesh_controlplane.logic.source_views import (
    StoredSource,
    StoredView,
    source_key,
    split_key,
    view_key,
)
from hostmesh_core.ids import SpiffeId
from hostmesh_core.model import Health, Locality, Origin, Port, Protocol
from hostmesh_testing.catalogs import HTTP_9080, REVIEWS, key, service

FULL = CatalogService(
    host=REVIEWS,
    namespace="default",
    ports=(HTTP_9080, Port(81, Protocol.TCP, "", protocol_defaulted=True, server_first=True)),
    aliases=("reviews.service.consul",),
    short_name="reviews",
    subject_alt_names=(SpiffeId.parse("spiffe://mesh.internal/ns/x/sa/y"),),
    require_mesh=True,
    endpoints=(
        CatalogEndpoint(
            key("[fd77::1]:9080"),
            port_name="http",
            service_port=9080,
            health=Health.DEGRADED,
            reason='check "disk" is warning',
            weight=7,
            labels=(("version", "v1"),),
            locality=Locality("eu", "eu-1"),
            datacenter="dc1",
            held=True,
            origin=Origin(node="n7", service_id="reviews-1", since=12.5),
        ),
    ),
    stated_protocol=Protocol.GRPC,
    problems=("instance x is left out",),
    origin="consul dc1",
)


def test_a_view_survives_the_store() -> None:
    for listing in (FULL, service("10.0.0.1:80")):
        view = StoredView(listing, "reviews", 42)
        assert StoredView.from_bytes(view.to_bytes()) == view
    assert StoredSource.from_bytes(StoredSource(sentinel_seen=True).to_bytes()).sentinel_seen


def test_equal_views_are_equal_bytes() -> None:
    assert StoredView(FULL).to_bytes() == StoredView(FULL).to_bytes()


def test_the_time_of_a_first_sight_survives_the_store() -> None:
    (endpoint,) = StoredView.from_bytes(StoredView(FULL).to_bytes()).service.endpoints
    assert endpoint.origin.since == 12.5


@pytest.mark.parametrize("damage", [{"ports": 1}, {"ports": [1]}])
def test_a_damaged_view_is_no_view(damage: dict[str, object]) -> None:
    stored = json.loads(StoredView(FULL).to_bytes())
    stored["service"] |= damage
    with pytest.raises(RuntimeError, match="stored view is damaged"):
        StoredView.from_bytes(json.dumps(stored).encode())


def test_keys() -> None:
    assert split_key(view_key("dc1", REVIEWS)) == ("dc1", REVIEWS)
    assert split_key(source_key("dc1")) == ("dc1", "")
