from typing import Any

import pytest

from hostmesh_controlplane.logic.render import routes
from hostmesh_controlplane.logic.render.views import VirtualHostFacts, VirtualHostView
from hostmesh_core import type_urls
from hostmesh_core.model import ServiceState
from hostmesh_testing import golden as golden_files
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.render_reading import message, shown

REVIEWS = VirtualHostFacts.of(mesh.service("reviews"), 9080)


def rendered(*, anonymous: bool = False, facts: VirtualHostFacts = REVIEWS) -> bytes:
    view = VirtualHostView(("reviews", "reviews.example"), anonymous, 15001)
    one = routes.virtual_host(view, facts)
    return routes.route_configuration(9080, [one])


def read(body: bytes) -> Any:
    return message(type_urls.ROUTE, body)


def test_the_routes_of_a_port(golden: golden_files.type_golden) -> None:
    golden("outbound-route.yaml", shown(type_urls.ROUTE, rendered()))


def test_processes_without_an_identity_are_told_why() -> None:
    first = read(rendered(anonymous=True)).virtual_hosts[1].routes[0]
    assert first.match.filter_state[0].key == "hostmesh.identity"
    assert first.match.filter_state[0].string_match.exact == "15001"
    assert first.direct_response.status == 503
    assert first.direct_response.body.inline_string == (
        "hostmesh: this process has no identity on this host; "
        "set outbound.default_identity or identities[]\n"
    )


@pytest.mark.parametrize("state", [ServiceState.PLAIN, ServiceState.MIXED])
def test_what_plaintext_reaches_asks_for_no_identity(state: ServiceState) -> None:
    facts = VirtualHostFacts.of(mesh.service("reviews", state=state), 9080)
    assert rendered(anonymous=True, facts=facts) == rendered(anonymous=False, facts=facts)


def test_only_harmless_methods_are_repeated_after_a_reset() -> None:
    repeated = {
        route.match.headers[0].string_match.safe_regex.regex if route.match.headers else "": set(
            route.route.retry_policy.retry_on.split(",")
        )
        for route in read(rendered()).virtual_hosts[1].routes
    }
    assert {methods: "reset" in words for methods, words in repeated.items()} == {
        "GET|HEAD|OPTIONS": True,
        "": False,
    }
    assert all("retriable-headers" in words for words in repeated.values())


def test_no_request_is_cut_by_envoys_own_timeout() -> None:
    for host in read(rendered()).virtual_hosts:
        for route in host.routes:
            if route.HasField("route"):
                assert route.route.HasField("timeout")
                assert route.route.timeout.ToNanoseconds() == 0


def test_unknown_hosts_pass_through_but_at_a_virtual_address() -> None:
    virtual, other = read(rendered()).virtual_hosts[0].routes
    assert virtual.match.filter_state[0].key == "hostmesh.destination"
    assert virtual.direct_response.status == 404
    assert other.route.cluster == "PassthroughCluster"
