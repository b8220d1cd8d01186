from dataclasses import replace

import pytest

from hostmesh_controlplane.logic.draft import Inputs
from hostmesh_controlplane.logic.service_state import KeptService, ServiceRecord
from hostmesh_controlplane.logic.unite import accepted_identities, unite
from hostmesh_controlplane.logic.vips import VipRecord
from hostmesh_core.ids import EndpointKey, SpiffeId
from hostmesh_core.model import Locality, Port, Service, ServiceState
from hostmesh_testing.catalogs import HTTP_9080, REVIEWS, RULES, listed, service

VIP = VipRecord("240.240.0.1", "fd48::1", 9080)


def united(inputs: Inputs) -> Service:
    merged = unite(REVIEWS, replace(inputs, vip=VIP), RULES)
    assert merged is not None
    return merged


def test_nothing_known_is_no_service() -> None:
    assert unite(REVIEWS, Inputs(vip=VIP), RULES) is None


def test_a_kept_service_has_its_ports_and_no_endpoint() -> None:
    record = ServiceRecord(ServiceState.MESH, kept=KeptService("default", (HTTP_9080,)))
    merged = united(Inputs(record=record))
    assert (merged.ports, merged.endpoints, merged.short_name) == ((HTTP_9080,), (), "reviews")


def test_locality_and_datacenter_come_from_whoever_states_one() -> None:
    here = replace(listed("10.0.0.1:80"), locality=Locality("dc1"), datacenter="dc1")
    listings = (("files", service("10.0.0.1:80")), ("dc1", service(here)))
    (endpoint,) = united(Inputs(listings)).endpoints
    assert (endpoint.locality, endpoint.datacenter) == (Locality("dc1"), "dc1")


def test_labels_of_an_unmeshed_endpoint_are_united_by_precedence() -> None:
    files = listed("10.0.0.1:80", labels=(("version", "v1"),))
    dc1 = listed("10.0.0.1:80", labels=(("rack", "7"), ("version", "v2")))
    (endpoint,) = united(Inputs((("files", service(files)), ("dc1", service(dc1))))).endpoints
    assert endpoint.labels == (("rack", "7"), ("version", "v1"))


def test_aliases_are_united_and_never_the_host_itself() -> None:
    one = replace(service("10.0.0.1:80"), aliases=("a.example", REVIEWS))
    other = replace(service("10.0.0.1:80"), aliases=("b.example", "a.example"))
    merged = united(Inputs((("files", one), ("dc1", other))))
    assert merged.aliases == ("a.example", "b.example")


def test_only_static_documents_may_state_an_identity() -> None:
    san = (SpiffeId.parse("spiffe://mesh.internal/ns/x/sa/y"),)
    one = replace(service("10.0.0.1:80"), subject_alt_names=san)
    assert san[0] in accepted_identities(REVIEWS, Inputs((("files", one),)), RULES)
    assert san[0] not in accepted_identities(REVIEWS, Inputs((("dc1", one),)), RULES)


def test_a_namespace_that_differs_is_reported() -> None:
    listings = (("files", service("10.0.0.1:80")), ("dc1", service(namespace="shop")))
    merged = united(Inputs(listings))
    assert merged.namespace == "default"
    assert merged.conflicts == ("its namespace is default; dc1 says shop",)


def test_an_endpoint_whose_port_cannot_be_told_is_withheld_and_said() -> None:
    two = service(ports=(HTTP_9080, Port(81)))
    inputs = Inputs((("files", two), ("dc1", service("10.0.0.1:20001"))), vip=replace(VIP, port=0))
    merged = unite(REVIEWS, inputs, RULES)
    assert merged is not None
    assert merged.endpoints == ()
    (withheld,) = merged.withheld
    assert withheld.source == "dc1"
    assert withheld.reason.startswith("cannot tell which port of the service 10.0.0.1:20001 serves")


def test_networks_tell_equal_addresses_apart() -> None:
    east = replace(listed("10.0.0.1:80"), key=EndpointKey("east", "10.0.0.1", 80))
    merged = united(Inputs((("files", service(east, "10.0.0.1:80")),)))
    assert [str(e.key) for e in merged.endpoints] == ["10.0.0.1:80", "east/10.0.0.1:80"]


@pytest.mark.parametrize(
    ("held", "result"),
    [
        pytest.param((True, True), True, id="every source holds it"),
        pytest.param((True, False), False, id="one source lists it"),
    ],
)
def test_an_endpoint_is_held_where_no_source_lists_it(
    *, held: tuple[bool, bool], result: bool
) -> None:
    listings = tuple(
        (name, service(listed("10.0.0.1:80", held=one)))
        for name, one in zip(("files", "dc1"), held, strict=True)
    )
    assert [e.held for e in united(Inputs(listings)).endpoints] == [result]
