from dataclasses import replace

import pytest

from hostmesh_controlplane.logic.render.index import OutboundIndex, ServiceFacts
from hostmesh_core import type_urls
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Health, Port, Protocol
from hostmesh_testing import render_mesh as mesh

REVIEWS = mesh.service("reviews", mesh.endpoint("10.0.0.1", 9080, service="reviews"))


def test_replacing_a_service_by_itself_names_nothing() -> None:
    index = OutboundIndex()
    list(index.replace(REVIEWS.host, REVIEWS))
    assert list(index.replace(REVIEWS.host, replace(REVIEWS))) == []


def test_a_ports_listener_stays_while_it_has_a_service() -> None:
    index = OutboundIndex()
    other = mesh.service("other", number=2)
    for each in (REVIEWS, other):
        list(index.replace(each.host, each))
    assert (type_urls.LISTENER, "0.0.0.0_9080") not in list(index.replace(other.host, None))
    assert (type_urls.LISTENER, "0.0.0.0_9080") in list(index.replace(REVIEWS.host, None))
    assert (index.http, index.http_listeners, index.routes) == ({}, {}, {})


def test_a_port_that_becomes_tcp_moves_to_its_own_listener() -> None:
    index = OutboundIndex()
    list(index.replace(REVIEWS.host, REVIEWS))
    tcp = replace(REVIEWS, ports=(Port(9080, Protocol.TCP),))
    named = set(index.replace(REVIEWS.host, tcp))
    assert (type_urls.LISTENER, "0.0.0.0_9080") in named
    assert (type_urls.LISTENER, "240.240.0.1_9080") in named


def test_an_instance_on_two_ports_of_its_service_has_one_listener() -> None:
    one = mesh.endpoint("10.0.0.1", 9080, service="reviews")
    two = replace(one, service_port=80)
    facts = ServiceFacts.of(replace(REVIEWS, endpoints=(one, two)))
    assert facts.direct["10.0.0.1_9080"].port == 80


def test_only_registered_instances_have_listeners_of_their_own_healthy_or_not() -> None:
    ill = mesh.endpoint("10.0.0.2", 9080, service="reviews", health=Health.UNHEALTHY)
    listed = mesh.endpoint("10.0.0.3", 9080)
    facts = ServiceFacts.of(replace(REVIEWS, endpoints=(ill, listed)))
    assert facts.direct.keys() == {"10.0.0.2_9080"}


def test_a_service_without_ports_makes_nothing() -> None:
    assert ServiceFacts.of(replace(REVIEWS, ports=(), endpoints=())) == ServiceFacts()
    assert ServiceFacts.of(None) == ServiceFacts()


@pytest.mark.parametrize("number", [15001, 15006, 15021, 15090, 15164])
def test_no_catalog_entry_takes_a_port_that_every_envoy_binds(number: int) -> None:
    index = OutboundIndex()
    list(index.replace(REVIEWS.host, replace(REVIEWS, ports=(Port(number, Protocol.HTTP),))))
    assert index.http_listeners == {}
    assert index.tcp.keys() == {f"240.240.0.1_{number}"}


def test_each_address_of_an_instance_has_a_listener_of_its_own() -> None:
    """So none ever shares an address with one that is about to go: Envoy refuses that."""
    one = mesh.endpoint("10.0.0.1", 80, service="reviews")
    dual = replace(one, additional=(EndpointKey.of("fd00::1", 80),))
    facts = ServiceFacts.of(replace(REVIEWS, endpoints=(dual,)))
    assert facts.direct.keys() == {"10.0.0.1_80", "fd00::1_80"}
    assert {str(each.key) for each in facts.direct.values()} == {"10.0.0.1:80", "[fd00::1]:80"}
