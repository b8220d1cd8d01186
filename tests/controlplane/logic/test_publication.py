from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from hostmesh_controlplane.logic.publication import Publication
from hostmesh_controlplane.logic.scope import EnvoyPorts, Upstream
from hostmesh_core import type_urls
from hostmesh_core.ids import EndpointKey, Identity
from hostmesh_core.model import (
    Endpoint,
    Health,
    InboundMode,
    Locality,
    MeshChange,
    Origin,
    Port,
    Protocol,
    Service,
    ServiceState,
    Withheld,
)
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.render_reading import unread
from hostmesh_testing.render_shown import differing, shown

REVIEWS = mesh.service("reviews", mesh.endpoint("10.0.0.1", 9080, service="reviews"))
CLUSTER = "outbound|9080||reviews.default.mesh.internal"


def changed(service: Service, **changes: Any) -> MeshChange:
    return MeshChange(service.host, service, replace(service, **changes))


def test_an_empty_mesh_still_has_what_every_envoy_needs() -> None:
    assert {name for _, name in shown(Publication())} == {
        "BlackHoleCluster",
        "PassthroughCluster",
        "DirectCluster",
        "virtualOutbound",
    }


def test_a_service_touches_its_own_resources_only() -> None:
    publication = mesh.published(mesh.service("other", number=2))
    assert publication.apply(mesh.added(REVIEWS)) == {
        type_urls.CLUSTER: {CLUSTER},
        type_urls.ENDPOINT: {CLUSTER},
        type_urls.ROUTE: {"9080"},
        type_urls.LISTENER: {"10.0.0.1_9080"},  # the port's own listener is there already
    }


@pytest.mark.parametrize(
    ("changes", "touched"),
    [
        pytest.param(
            {"endpoints": (mesh.endpoint("10.0.0.1", 9080, service="reviews", weight=5),)},
            {type_urls.ENDPOINT: {CLUSTER}},
            id="a weight touches the load assignment",
        ),
        pytest.param(
            {
                "endpoints": (
                    mesh.endpoint("10.0.0.1", 9080, service="reviews", health=Health.UNHEALTHY),
                )
            },
            {type_urls.ENDPOINT: {CLUSTER}},
            id="an unhealthy instance leaves the assignment and keeps its own listener",
        ),
        pytest.param(
            {"endpoints": (mesh.endpoint("10.0.0.9", 9080, service="reviews"),)},
            {
                type_urls.ENDPOINT: {CLUSTER},
                type_urls.LISTENER: {"10.0.0.1_9080", "10.0.0.9_9080"},
            },
            id="a moved instance moves its own listener",
        ),
        pytest.param(
            {"identities": (mesh.spiffe("reviews"), mesh.spiffe("more"))},
            {type_urls.CLUSTER: {CLUSTER}, type_urls.LISTENER: {"10.0.0.1_9080"}},
            id="another accepted identity touches cluster and listener",
        ),
        pytest.param({"withheld": (Withheld(REVIEWS.endpoints[0].key, "s", "r"),)}, {}, id="notes"),
        pytest.param({"sources": ("more",), "conflicts": ("two",)}, {}, id="more notes"),
        pytest.param({"inbound": InboundMode.STRICT}, {}, id="the inbound mode is not for clients"),
    ],
)
def test_a_change_touches_what_it_feeds(
    changes: dict[str, Any], touched: dict[str, set[str]]
) -> None:
    publication = mesh.published(REVIEWS)
    before = shown(publication)
    assert publication.apply([changed(REVIEWS, **changes)]) == touched
    assert differing(before, shown(publication)) == touched


def test_the_same_bytes_serve_every_stream_of_a_view() -> None:
    publication = mesh.published(REVIEWS)
    one = publication.resources(mesh.SCOPE, "a").get(type_urls.CLUSTER, CLUSTER)
    other = publication.resources(replace(mesh.SCOPE), "b").get(type_urls.CLUSTER, CLUSTER)
    assert one is other


def test_a_gone_service_takes_everything_along() -> None:
    empty = shown(Publication())
    publication = mesh.published(REVIEWS)
    publication.apply([MeshChange(REVIEWS.host, REVIEWS, None)])
    assert shown(publication) == empty


def test_a_virtual_address_can_go_from_one_service_to_another_in_one_batch() -> None:
    tcp = (Port(5432, Protocol.TCP),)
    old, new = mesh.service("old", ports=tcp), mesh.service("new", ports=tcp)
    publication = mesh.published(old)
    publication.apply([*mesh.added(new), MeshChange(old.host, old, None)])
    assert shown(publication) == shown(mesh.published(new))


def test_two_services_of_one_alias_do_not_spoil_the_port() -> None:
    one = mesh.service("one", aliases=("web.service.consul",))
    two = mesh.service("two", number=2, aliases=("web.service.consul",))
    before, after = shown(mesh.published(one, two)), shown(mesh.published(two, one))
    assert before == after
    assert before[type_urls.ROUTE, "9080"].count(b"web.service.consul") == 1


def test_the_loser_of_a_name_gets_it_when_the_owner_goes() -> None:
    one = mesh.service("one", aliases=("web.service.consul",))
    two = mesh.service("two", number=2, aliases=("web.service.consul",))
    publication = mesh.published(one, two)
    shown(publication)
    touched = publication.apply([MeshChange(one.host, one, None)])
    assert type_urls.ROUTE in touched
    assert shown(publication) == shown(mesh.published(two))


def test_an_instance_of_another_network_is_no_ones_neighbour() -> None:
    far = mesh.endpoint(
        "10.0.0.1", 9080, service="reviews", key=EndpointKey("far", "10.0.0.1", 9080)
    )
    publication = mesh.published(mesh.service("reviews", far))
    near, same = replace(mesh.SCOPE, network="near"), replace(mesh.SCOPE, network="far")
    assert (type_urls.LISTENER, "10.0.0.1_9080") not in shown(publication, near)
    assert (type_urls.LISTENER, "10.0.0.1_9080") in shown(publication, same)


def test_one_address_in_two_networks_is_each_networks_own() -> None:
    def of(network: str) -> Service:
        key = EndpointKey(network, "10.0.0.1", 9080)
        number = 1 if network == "east" else 2
        return mesh.service(
            network, mesh.endpoint("10.0.0.1", 9080, service=network, key=key), number=number
        )

    publication = mesh.published(of("east"), of("west"))
    for network in ("east", "west"):
        listener = shown(publication, replace(mesh.SCOPE, network=network))[
            type_urls.LISTENER, "10.0.0.1_9080"
        ]
        assert f"sa/{network}".encode() in listener


# Inbound


def test_inbound_resources_are_for_their_host_alone() -> None:
    publication = mesh.published(REVIEWS)
    touched = publication.set_inbound(mesh.HOST_ID, mesh.inbound(mesh.inbound_port(9080)))
    assert touched == {
        type_urls.LISTENER: {"virtualInbound"},
        type_urls.CLUSTER: {"inbound|9080||"},
        type_urls.ROUTE: {"inbound|http|9080"},
    }
    assert differing(shown(publication, host="other"), shown(publication)) == touched


def test_a_tcp_port_has_a_policy_of_its_own() -> None:
    publication = Publication()
    port = mesh.inbound_port(5432, protocol=Protocol.TCP)
    assert publication.set_inbound(mesh.HOST_ID, mesh.inbound(port)) == {
        type_urls.LISTENER: {"virtualInbound"},
        type_urls.CLUSTER: {"inbound|5432||"},
        type_urls.EXTENSION_CONFIG: {"inbound|tcp|5432"},
    }


def test_the_same_inbound_again_touches_nothing() -> None:
    publication = Publication()
    value = mesh.inbound(mesh.inbound_port(9080))
    publication.set_inbound(mesh.HOST_ID, value)
    assert publication.set_inbound(mesh.HOST_ID, replace(value)) == {}


def test_a_changed_mode_touches_the_listener() -> None:
    publication = Publication()
    publication.set_inbound(mesh.HOST_ID, mesh.inbound(mesh.inbound_port(9080)))
    strict = mesh.inbound(mesh.inbound_port(9080, mode=InboundMode.STRICT))
    assert publication.set_inbound(mesh.HOST_ID, strict) == {type_urls.LISTENER: {"virtualInbound"}}


def test_instances_of_one_service_share_their_bytes() -> None:
    publication = Publication()
    for host in ("a", "b"):
        publication.set_inbound(host, mesh.inbound(mesh.inbound_port(9080)))
    one, other = (
        publication.resources(mesh.SCOPE, host).get(type_urls.LISTENER, "virtualInbound")
        for host in ("a", "b")
    )
    assert one is not None
    assert one is other


def test_a_host_that_leaves_loses_its_inbound() -> None:
    publication = Publication()
    publication.set_inbound(mesh.HOST_ID, mesh.inbound())
    assert publication.set_inbound(mesh.HOST_ID, None) == {type_urls.LISTENER: {"virtualInbound"}}
    assert shown(publication) == shown(Publication())


def test_a_port_that_envoy_binds_itself_has_its_address_alone() -> None:
    publication = mesh.published(REVIEWS)
    port = mesh.inbound_port(8080, mesh_port=9080)
    touched = publication.set_inbound(mesh.HOST_ID, mesh.inbound(port))
    listeners = {name for type_url, name in shown(publication) if type_url == type_urls.LISTENER}
    assert "inbound_9080" in listeners
    assert "0.0.0.0_9080" not in listeners
    assert touched[type_urls.LISTENER] == {"virtualInbound", "inbound_9080", "0.0.0.0_9080"}
    resources = publication.resources(mesh.SCOPE, mesh.HOST_ID)
    assert resources.get(type_urls.LISTENER, "0.0.0.0_9080") is None


def test_an_upstream_is_its_hosts_alone() -> None:
    publication = mesh.published(REVIEWS)
    upstream = Upstream("127.0.0.1", 19080, REVIEWS.host, 9080, Protocol.HTTP)
    plain, name = mesh.inbound(), "upstream_127.0.0.1_19080"
    publication.set_inbound(mesh.HOST_ID, plain)
    touched = publication.set_inbound(mesh.HOST_ID, replace(plain, upstreams=(upstream,)))
    assert touched == {type_urls.LISTENER: {name}, type_urls.ROUTE: {name}}
    elsewhere = publication.resources(mesh.SCOPE, "elsewhere")
    assert elsewhere.get(type_urls.LISTENER, name) is None
    tcp = replace(plain, upstreams=(replace(upstream, protocol=Protocol.TCP),))
    assert publication.set_inbound(mesh.HOST_ID, tcp) == touched
    assert publication.set_inbound(mesh.HOST_ID, plain) == {type_urls.LISTENER: {name}}


def test_another_instances_ports_reach_its_two_capturing_listeners_and_nothing_else() -> None:
    publication = mesh.published(REVIEWS)
    scope = replace(mesh.SCOPE, outbound_port=16001, identities=((16001, mesh.SHOP),))
    one = replace(mesh.SCOPE, identities=())
    publication.set_inbound(mesh.HOST_ID, mesh.inbound())
    before = shown(publication, one)
    own = replace(mesh.inbound(), envoy=EnvoyPorts(outbound=16001, inbound=16006))
    publication.set_inbound(mesh.HOST_ID, own)
    after = shown(publication, replace(scope, identities=()))
    assert {name for _, name in before if before[_, name] != after[_, name]} == {
        "virtualInbound",
        "virtualOutbound",
        "9080",  # says who has no identity, by the capture port
    }
    routes = [shown(publication, each)[type_urls.ROUTE, "9080"] for each in (mesh.SCOPE, scope)]
    assert routes[0] == routes[1]


def test_what_nobody_knows_is_nothing() -> None:
    resources = mesh.published(REVIEWS).resources(mesh.SCOPE, mesh.HOST_ID)
    for type_url in (*type_urls.ORDER, "type.googleapis.com/else"):
        assert resources.get(type_url, "unknown") is None
    assert list(resources.names(type_urls.SECRET)) == []


@pytest.mark.parametrize("state", list(ServiceState))
def test_an_independent_decoder_reads_back_everything(state: ServiceState) -> None:
    endpoints = (
        mesh.endpoint("10.0.0.1", 9080, service="reviews", weight=3, locality=Locality("eu", "a")),
        mesh.endpoint("10.0.0.2", 9080),
    )
    publication = mesh.published(
        mesh.service("reviews", *endpoints, state=state),
        mesh.service("db", number=2, ports=(Port(5432, Protocol.TCP),), state=state),
        mesh.service("grpc", number=3, ports=(Port(50051, Protocol.GRPC),), state=state),
    )
    ports = (
        mesh.inbound_port(9080),
        mesh.inbound_port(5432, protocol=Protocol.TCP),
        mesh.inbound_port(3306, protocol=Protocol.TCP, mode=InboundMode.STRICT, server_first=True),
        mesh.inbound_port(8080, mesh_port=7000),
        mesh.inbound_port(8081, listen=("127.0.0.1", 8081), protocol=Protocol.GRPC),
    )
    upstreams = tuple(
        Upstream(address, 19080, REVIEWS.host, 9080, protocol)
        for address, protocol in (("127.0.0.1", Protocol.HTTP), ("::1", Protocol.TCP))
    )
    publication.set_inbound(mesh.HOST_ID, replace(mesh.inbound(*ports), upstreams=upstreams))
    for scope in (mesh.TWO_IDENTITIES, mesh.NO_IDENTITY):
        for (type_url, name), body in shown(publication, scope).items():
            assert unread(type_url, body) == [], name


SERVICE_OTHER: dict[str, Any] = {
    "namespace": "elsewhere",
    "ports": (Port(9080, Protocol.GRPC),),
    "vip4": "240.240.0.9",
    "vip6": "fd48:6d65:7368::9",
    "aliases": (),
    "short_name": "other",
    "state": ServiceState.MIXED,
    "inbound": InboundMode.STRICT,
    "identities": (mesh.spiffe("other"),),
    "endpoints": (),
    "withheld": (Withheld(EndpointKey.of("10.0.0.9", 1), "s", "r"),),
    "sources": ("more",),
    "conflicts": ("a sentence",),
}
ENDPOINT_OTHER: dict[str, Any] = {
    "key": EndpointKey.of("10.0.0.9", 9080),
    "service_port": 9999,
    "workload_port": 8080,
    "additional": (EndpointKey.of("fd00::1", 9080),),
    "locality": Locality("eu"),
    "datacenter": "dc2",
    "weight": 2,
    "health": Health.UNHEALTHY,
    "reasons": ("slow",),
    "identity": None,
    "host_id": "1",
    "labels": (("a", "b"),),
    "sources": ("more",),
    "held": True,
    "origins": (("consul", Origin(node="n7", service_id="reviews-1")),),
}
SEEN_BY_CLIENTS = {"namespace", "ports", "vip4", "vip6", "aliases", "short_name", "state"} | {
    "identities",
    "endpoints",
}
SEEN_OF_ENDPOINTS = {"key", "service_port", "additional", "locality", "weight", "health"} | {
    "identity"
}


def _field_cases(of: type, other: dict[str, Any]) -> list[str]:
    return [field.name for field in fields(of) if field.name in other or field.name != "host"]


@pytest.mark.parametrize("field", _field_cases(Service, SERVICE_OTHER))
def test_a_field_of_a_service_shows_exactly_where_a_view_has_it(field: str) -> None:
    _check(lambda: replace(REVIEWS, **{field: SERVICE_OTHER[field]}), field in SEEN_BY_CLIENTS)


@pytest.mark.parametrize("field", _field_cases(Endpoint, ENDPOINT_OTHER))
def test_a_field_of_an_endpoint_shows_exactly_where_a_view_has_it(field: str) -> None:
    (endpoint,) = REVIEWS.endpoints
    other = replace(endpoint, **{field: ENDPOINT_OTHER[field]})
    _check(lambda: replace(REVIEWS, endpoints=(other,)), field in SEEN_OF_ENDPOINTS)


def _check(make: Callable[[], Service], shows: bool) -> None:  # noqa: FBT001 - the expectation
    publication = mesh.published(REVIEWS)
    before = shown(publication)
    touched = publication.apply([MeshChange(REVIEWS.host, REVIEWS, make())])
    assert bool(differing(before, shown(publication))) is shows
    assert bool(touched) is shows


def test_the_views_kept_are_limited() -> None:
    publication = mesh.published(REVIEWS)
    first = publication.resources(mesh.SCOPE, "a").get(type_urls.CLUSTER, CLUSTER)
    for number in range(100):
        identity = Identity("default", f"sa{number}")
        scope = replace(mesh.SCOPE, identities=((15001, identity),))
        assert publication.resources(scope, "b").get(type_urls.CLUSTER, CLUSTER) is not None
    again = publication.resources(mesh.SCOPE, "a").get(type_urls.CLUSTER, CLUSTER)
    assert again == first
    assert again is not first
