from dataclasses import replace

import pytest

from hostmesh_controlplane.logic.render import endpoints
from hostmesh_controlplane.logic.render.views import EndpointFacts, EndpointView
from hostmesh_core import names, type_urls
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Endpoint, Health, Locality, ServiceState
from hostmesh_testing import golden as golden_files
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.render_reading import message, shown

BOTH = EndpointView(v4=True, v6=True, network="")
REGISTERED = mesh.endpoint(
    "10.0.0.1", 9080, service="reviews", additional=(EndpointKey.of("fd00::1", 9080),), weight=3
)
LISTED = mesh.endpoint("10.0.0.2", 9080, locality=Locality("eu", "a"))


def rendered(
    *listed: Endpoint, state: ServiceState = ServiceState.MESH, view: EndpointView = BOTH
) -> bytes:
    service = mesh.service("reviews", *listed, state=state)
    return endpoints.load_assignment(view, EndpointFacts.of(service, 9080))


def addresses(body: bytes) -> list[list[str]]:
    """Each instance's addresses, the preferred one first."""
    return [
        [
            each.endpoint.address.socket_address.address,
            *(more.address.socket_address.address for more in each.endpoint.additional_addresses),
        ]
        for locality in message(type_urls.ENDPOINT, body).endpoints
        for each in locality.lb_endpoints
    ]


def test_a_mixed_service_states_each_endpoints_mode(golden: golden_files.type_golden) -> None:
    body = rendered(REGISTERED, LISTED, state=ServiceState.MIXED)
    golden("endpoints-mixed.yaml", shown(type_urls.ENDPOINT, body))


def test_a_mesh_service_has_registered_endpoints_alone() -> None:
    assert addresses(rendered(REGISTERED, LISTED)) == [["10.0.0.1", "fd00::1"]]


@pytest.mark.parametrize("state", list(ServiceState))
def test_the_cluster_of_a_state_to_come_finds_each_endpoints_mode(state: ServiceState) -> None:
    found = message(type_urls.ENDPOINT, rendered(REGISTERED, LISTED, state=state)).endpoints
    modes = {
        each.endpoint.address.socket_address.address: each.metadata.filter_metadata[
            names.TLS_MODE_METADATA
        ][names.TLS_MODE_KEY]
        for locality in found
        for each in locality.lb_endpoints
    }
    plain = {} if state is ServiceState.MESH else {"10.0.0.2": names.TLS_MODE_PLAIN}
    assert modes == {"10.0.0.1": names.TLS_MODE_MESH, **plain}


def test_ten_endpoints_of_a_mesh_service_are_small() -> None:
    ten = (mesh.endpoint(f"10.0.0.{n}", 9080, service="reviews", weight=2) for n in range(10))
    assert len(rendered(*ten)) < 902 + len("outbound|9080||reviews.default.mesh.internal")


def test_a_client_gets_the_families_that_it_speaks() -> None:
    only4, only6 = (replace(BOTH, v6=False), replace(BOTH, v4=False))
    assert addresses(rendered(REGISTERED, view=only4)) == [["10.0.0.1"]]
    assert addresses(rendered(REGISTERED, view=only6)) == [["fd00::1"]]
    assert addresses(rendered(LISTED, state=ServiceState.PLAIN, view=only6)) == []


def test_an_unhealthy_instance_is_left_out_and_a_degraded_one_stays() -> None:
    states = [
        mesh.endpoint(f"10.0.0.{n}", 9080, service="reviews", health=health)
        for n, health in enumerate(Health)
    ]
    assert addresses(rendered(*states)) == [["10.0.0.0"], ["10.0.0.1"]]


def test_only_the_ports_own_instances_are_there() -> None:
    other = mesh.endpoint("10.0.0.3", 8080, service="reviews")
    assert addresses(rendered(REGISTERED, other)) == [["10.0.0.1", "fd00::1"]]


def test_networks_meet_only_where_one_is_not_stated() -> None:
    far = replace(REGISTERED, key=EndpointKey("far", "10.0.0.1", 9080), additional=())
    seen = {
        network: addresses(rendered(far, view=replace(BOTH, network=network)))
        for network in ("", "far", "near")
    }
    assert seen == {"": [["10.0.0.1"]], "far": [["10.0.0.1"]], "near": []}


def test_the_order_of_the_endpoints_does_not_matter() -> None:
    one, two = mesh.endpoint("10.0.0.1", 9080), mesh.endpoint("10.0.0.2", 9080)
    plain = ServiceState.PLAIN
    assert rendered(one, two, state=plain) == rendered(two, one, state=plain)
