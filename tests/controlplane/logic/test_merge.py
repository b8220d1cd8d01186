from dataclasses import replace

import pytest

from hostmesh_controlplane.logic import merge
from hostmesh_controlplane.logic.catalog import SourceChanged, SourceStatus
from hostmesh_controlplane.logic.service_state import ServiceRecord
from hostmesh_controlplane.logic.vips import VipRecord
from hostmesh_core.ids import Identity
from hostmesh_core.model import Health, Port, Protocol, ServiceState
from hostmesh_testing.catalogs import (
    HTTP_9080,
    RATINGS,
    REVIEWS,
    RULES,
    Mesh,
    instance,
    key,
    listed,
    service,
)

A, B = "a" * 32, "b" * 32


def test_one_host_name_in_two_catalogs_is_one_service() -> None:
    mesh = Mesh()
    mesh.catalog("files", service("10.0.0.1:9080", ports=(HTTP_9080,)))
    mesh.catalog("dc1", service("10.0.0.2:9080", "10.0.0.1:9080"))

    assert mesh.table() == {"10.0.0.1:9080": "files+dc1", "10.0.0.2:9080": "dc1"}
    assert mesh.service().ports == (HTTP_9080,)
    assert mesh.service().sources == ("files", "dc1")
    assert mesh.service().vip4.startswith("240.240.")


def test_the_same_listing_again_changes_nothing() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.1:9080"))
    before = mesh.state

    step = mesh.catalog("dc1", service("10.0.0.1:9080"))

    assert step.changes == ()
    assert step.state is before


def test_a_change_touches_its_own_service_alone() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.9:80", host=RATINGS))
    untouched = mesh.service(RATINGS)

    step = mesh.catalog("dc1", service("10.0.0.1:9080"))

    assert [change.host for change in step.changes] == [REVIEWS]
    assert mesh.service(RATINGS) is untouched


def test_a_service_without_virtual_address_is_not_in_the_mesh_yet() -> None:
    mesh = Mesh()
    event = SourceChanged("dc1", REVIEWS, service("10.0.0.1:20001"))

    step = merge.source_changed(mesh.state, event)

    assert step.changes == ()
    assert [(wanted.host, wanted.port) for wanted in step.wanted] == [(REVIEWS, 20001)]
    after = merge.set_vip(step.state, REVIEWS, VipRecord("240.240.0.1", "fd48::1", 20001))
    assert [change.after and change.after.vip4 for change in after.changes] == ["240.240.0.1"]


def test_the_last_source_to_drop_a_service_ends_it() -> None:
    mesh = Mesh()
    mesh.catalog("files", service("10.0.0.1:9080", ports=(HTTP_9080,)))
    mesh.catalog("dc1", service("10.0.0.1:9080"))

    mesh.catalog("files", None)
    assert mesh.table() == {"10.0.0.1:9080": "dc1"}
    step = mesh.catalog("dc1", None)

    assert [change.after for change in step.changes] == [None]
    assert REVIEWS not in mesh.state.services


def test_a_service_that_returns_has_its_old_address_and_port() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.1:20001"))
    vip = mesh.service().vip4
    mesh.catalog("dc1", None)

    mesh.catalog("dc1", service("10.0.0.1:31000"))

    assert mesh.service().vip4 == vip
    assert [port.number for port in mesh.service().ports] == [20001]


def test_a_registration_replaces_the_catalog_entry_of_the_same_instance() -> None:
    mesh = Mesh()
    mesh.catalog("files", service("10.0.0.1:9080", "10.0.0.2:9080", ports=(HTTP_9080,)))

    mesh.register(instance("10.0.0.1:9080"))

    assert mesh.table() == {"10.0.0.1:9080": "files+registered+mtls", "10.0.0.2:9080": "files"}
    assert mesh.service().state is ServiceState.MIXED


def test_an_instance_behind_a_mesh_port_is_never_two() -> None:
    mesh = Mesh()
    mesh.catalog("files", service("10.0.0.1:9080", ports=(HTTP_9080,)))

    mesh.register(instance("10.0.0.1:15443", workload_port=9080))

    (endpoint,) = mesh.service().endpoints
    assert (str(endpoint.key), endpoint.workload_port) == ("10.0.0.1:15443", 9080)
    assert endpoint.sources == ("files", "registered")


def test_both_families_of_an_instance_are_one_endpoint() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.1:9080", "[fd77::1]:9080"))

    mesh.register(instance("10.0.0.1:9080", "[fd77::1]:9080"))

    (endpoint,) = mesh.service().endpoints
    assert endpoint.additional == (key("[fd77::1]:9080"),)


def test_a_sentence_about_labels_is_one_line_of_bounded_length() -> None:
    mesh = Mesh()
    forged = "1\ndb.default.mesh.internal: all meshed\x1b[8m" + "x" * 100_000
    mesh.catalog("dc1", service(listed("10.0.0.1:9080", labels=(("a", forged),))))
    mesh.register(instance("10.0.0.1:9080"))
    (said,) = mesh.service().conflicts
    assert "(none); dc1 says a=1?db.default.mesh.internal: all meshed?[8mxxx" in said
    assert len(said) < 400


def test_identity_and_labels_come_from_the_registration_alone() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service(listed("10.0.0.1:9080", labels=(("version", "v9"),))))
    assert mesh.service().endpoints[0].labels == (("version", "v9"),)

    mesh.register(instance("10.0.0.1:9080", labels=(("version", "v1"),)))

    (endpoint,) = mesh.service().endpoints
    assert endpoint.labels == (("version", "v1"),)
    assert str(endpoint.identity) == "spiffe://mesh.internal/ns/default/sa/reviews"
    assert mesh.service().conflicts == (
        "10.0.0.1:9080 has the labels of its registration (version=v1); dc1 says version=v9",
    )


def test_health_is_the_worst_of_all_sources_with_the_reasons() -> None:
    mesh = Mesh()
    unwell = listed("10.0.0.1:9080", health=Health.UNHEALTHY, reason="check disk is critical")
    mesh.catalog("files", service("10.0.0.1:9080", ports=(HTTP_9080,)))
    mesh.catalog("dc1", service(unwell, "10.0.0.2:9080"))
    mesh.register(instance("10.0.0.1:9080"))

    endpoint, _ = mesh.service().endpoints
    assert endpoint.health is Health.UNHEALTHY
    assert endpoint.reasons == ("dc1: check disk is critical",)


def test_a_registered_key_belongs_to_its_service() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.1:9080", "10.0.0.2:9080", host=RATINGS))

    step = mesh.register(instance("10.0.0.1:9080"))

    assert mesh.table(RATINGS) == {"10.0.0.2:9080": "dc1"}
    (withheld,) = mesh.service(RATINGS).withheld
    assert REVIEWS in withheld.reason
    assert {change.host for change in step.changes} == {REVIEWS, RATINGS}
    mesh.register()
    assert set(mesh.table(RATINGS)) == {"10.0.0.1:9080", "10.0.0.2:9080"}


def test_a_key_registered_for_two_services_stays_with_the_first() -> None:
    mesh = Mesh()
    mesh.register(instance("10.0.0.1:9080", host_id=A), host_id=A)

    mesh.register(instance("10.0.0.1:9080", host=RATINGS, host_id=B), host_id=B)

    assert mesh.table(RATINGS) == {}
    assert merge.contested(mesh.state, B) == {key("10.0.0.1:9080"): REVIEWS}
    mesh.register(host_id=A)
    assert mesh.table(RATINGS) == {"10.0.0.1:9080": "registered+mtls"}
    assert merge.contested(mesh.state, B) == {}


def test_of_two_hosts_that_register_one_endpoint_the_later_one_counts() -> None:
    mesh = Mesh()
    mesh.register(instance("10.0.0.1:9080", host_id=B, health=Health.UNHEALTHY), host_id=B)
    mesh.register(instance("10.0.0.1:9080", host_id=A), host_id=A)

    (endpoint,) = mesh.service().endpoints
    assert (endpoint.host_id, endpoint.health) == (A, Health.HEALTHY)
    mesh.end_lease(B)
    assert [e.host_id for e in mesh.service().endpoints] == [A]


def test_a_workload_under_an_account_that_clients_do_not_accept_is_withheld() -> None:
    mesh = Mesh()
    mesh.register(instance("10.0.0.1:9080", account="other"))
    assert mesh.table() == {}
    assert "sa/other" in mesh.service().withheld[0].reason

    mesh.take(merge.set_accounts(mesh.state, {REVIEWS: (Identity("default", "other"),)}))

    assert mesh.table() == {"10.0.0.1:9080": "registered+mtls"}
    mesh.take(merge.set_accounts(mesh.state, {REVIEWS: ()}))
    assert mesh.table() == {}


@pytest.mark.parametrize(
    "also_listed",
    [
        pytest.param("10.0.0.1:15443", id="where peers connect"),
        pytest.param("10.0.0.1:9080", id="where its app listens"),
        pytest.param("[fd77::1]:9080", id="at its other address"),
    ],
)
def test_a_registration_that_is_no_more_accepted_is_not_plaintext_because_a_catalog_lists_it(
    also_listed: str,
) -> None:
    mesh = Mesh()
    mesh.take(merge.set_accounts(mesh.state, {REVIEWS: (Identity("default", "other"),)}))
    mesh.catalog("dc1", service(listed(also_listed, port=9080), listed("10.0.0.2:9080", port=9080)))
    mesh.register(
        instance("10.0.0.1:15443", "[fd77::1]:15443", account="other", workload_port=9080)
    )
    assert mesh.table() == {"10.0.0.1:15443": "registered+dc1+mtls", "10.0.0.2:9080": "dc1"}

    mesh.take(merge.set_accounts(mesh.state, {REVIEWS: ()}))

    assert mesh.table() == {"10.0.0.2:9080": "dc1"}
    (reason,) = [w.reason for w in mesh.service().withheld if w.source == "dc1"]
    assert reason.startswith("registered, but not accepted: it runs as")
    mesh.take(merge.set_accounts(mesh.state, {REVIEWS: (Identity("default", "other"),)}))
    assert mesh.table() == {"10.0.0.1:15443": "registered+dc1+mtls", "10.0.0.2:9080": "dc1"}


@pytest.mark.parametrize(
    ("certain", "listing", "required", "state", "why"),
    [
        pytest.param(True, False, False, "mesh", "no catalog lists it", id="unlisted: mesh"),
        pytest.param(True, True, False, "mixed", "a catalog lists it", id="listed: mixed"),
        pytest.param(False, False, False, "mixed", "one was away", id="a source is away: mixed"),
        pytest.param(False, True, True, "mesh", "token requires the mesh", id="the token demands"),
    ],
)
def test_the_state_at_the_first_registration(
    *, certain: bool, listing: bool, required: bool, state: str, why: str
) -> None:
    mesh = Mesh(certain=certain)
    mesh.state = replace(mesh.state, now=7.0)
    if listing:
        mesh.catalog("dc1", service("10.0.0.2:9080"))

    step = mesh.register(instance("10.0.0.1:9080", require_mesh=required))

    assert mesh.service().state.value == state
    ((host, record),) = step.records
    mark = record.state_set
    limit = 1 if certain else 0  # a source that is away may list larger weights
    expected = ServiceRecord(ServiceState(state), mark, weight_limit=limit)
    assert (host, record) == (REVIEWS, expected)
    assert mark.at == 7.0
    assert mark.by.startswith(f"the first registration, of host {'a' * 32}: ")
    assert mark.by.endswith(why)


def test_a_held_source_is_not_certain() -> None:
    mesh = Mesh()
    held = SourceStatus("dc1", "consul", healthy=True, synced=True, held=3)
    mesh.take(merge.source_status(mesh.state, held))

    mesh.register(instance("10.0.0.1:9080"))

    assert mesh.service().state is ServiceState.MIXED


def test_the_state_is_sticky() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.2:9080"))
    mesh.register(instance("10.0.0.1:9080"))
    mesh.catalog("dc1", None)
    mesh.register()
    assert REVIEWS not in mesh.state.services

    mesh.register(instance("10.0.0.1:9080", require_mesh=True))

    assert mesh.service().state is ServiceState.MIXED


def test_a_mesh_service_keeps_unmeshed_endpoints_in_sight_and_out_of_reach() -> None:
    mesh = Mesh()
    mesh.register(instance("10.0.0.1:9080"))
    mesh.catalog("dc1", service("10.0.0.2:9080"))

    assert set(mesh.table()) == {"10.0.0.1:9080", "10.0.0.2:9080"}
    assert [str(e.key) for e in mesh.service().reachable] == ["10.0.0.1:9080"]


def test_a_static_document_raises_the_state_and_the_stored_one_cannot_lower_it() -> None:
    mesh = Mesh()
    demand = service("10.0.0.2:9080", ports=(HTTP_9080,), require_mesh=True)
    mesh.catalog("files", replace(demand, origin="a.yaml:1"))
    assert mesh.service().state is ServiceState.MESH

    mesh.take(merge.set_record(mesh.state, REVIEWS, ServiceRecord(ServiceState.MIXED)))

    assert mesh.service().state is ServiceState.MESH
    assert mesh.state.record(REVIEWS).state_set.by == "a.yaml:1: hostmesh.io/require-mesh"


def test_a_consul_entry_cannot_raise_the_state() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.2:9080", require_mesh=True))
    assert mesh.service().state is ServiceState.PLAIN


def test_a_held_endpoint_that_refuses_is_out_while_another_healthy_one_is_left() -> None:
    mesh = Mesh()
    held = [listed("10.0.0.1:9080", held=True), listed("10.0.0.2:9080", held=True)]
    mesh.catalog("dc1", service(*held))
    first, second = key("10.0.0.1:9080"), key("10.0.0.2:9080")

    mesh.take(merge.set_refusing(mesh.state, REVIEWS, first, refuses=True))
    assert set(mesh.table()) == {"10.0.0.2:9080"}
    mesh.take(merge.set_refusing(mesh.state, REVIEWS, second, refuses=True))
    assert set(mesh.table()) == {"10.0.0.1:9080", "10.0.0.2:9080"}
    mesh.take(merge.set_refusing(mesh.state, REVIEWS, second, refuses=False))
    assert set(mesh.table()) == {"10.0.0.2:9080"}


def test_a_listed_endpoint_is_not_out_by_votes() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.1:9080", "10.0.0.2:9080"))
    first = key("10.0.0.1:9080")

    mesh.take(merge.set_refusing(mesh.state, REVIEWS, first, refuses=True))

    assert set(mesh.table()) == {"10.0.0.1:9080", "10.0.0.2:9080"}
    mesh.catalog("dc1", service(listed("10.0.0.1:9080", held=True), "10.0.0.2:9080"))
    assert set(mesh.table()) == {"10.0.0.1:9080", "10.0.0.2:9080"}


def test_one_workload_on_two_ports_of_its_service_is_meshed_on_both() -> None:
    mesh = Mesh()
    ports = (HTTP_9080, Port(80, Protocol.HTTP, "old"))
    both = [listed("10.0.0.1:9080", port=9080), listed("10.0.0.1:9080", port=80)]
    mesh.catalog("files", service(*both, ports=ports))

    mesh.register(instance("10.0.0.1:9080"))

    meshed = [(e.service_port, e.meshed) for e in mesh.service().endpoints]
    assert meshed == [(80, True), (9080, True)]


def test_precedence_follows_the_configuration() -> None:
    rules = replace(RULES, precedence=("consul", "registered", "static"))
    mesh = Mesh(rules)
    mesh.catalog("files", service(listed("10.0.0.1:9080", weight=3), ports=(HTTP_9080,)))
    mesh.catalog("dc1", service(listed("10.0.0.1:9080", weight=7)))

    (endpoint,) = mesh.service().endpoints
    assert (endpoint.weight, endpoint.sources) == (7, ("dc1", "files"))
    assert mesh.service().conflicts == ("10.0.0.1:9080 has weight 7 as dc1 says; files says 3",)


def test_what_clients_accept_is_known_before_the_service_is() -> None:
    mesh = Mesh()
    assert mesh.state.accepted("nobody.default.mesh.internal") == ()
    mesh.take(merge.set_accounts(mesh.state, {REVIEWS: (Identity("default", "batch"),)}))
    assert [str(one) for one in mesh.state.accepted(REVIEWS)] == [
        "spiffe://mesh.internal/ns/default/sa/batch"
    ]


def test_a_host_name_of_which_nothing_is_known_any_more_is_forgotten() -> None:
    mesh = Mesh()
    mesh.take(merge.set_accounts(mesh.state, {REVIEWS: (Identity("default", "batch"),)}))
    mesh.take(merge.set_accounts(mesh.state, {REVIEWS: ()}))
    assert REVIEWS not in mesh.state.inputs


def test_a_port_that_moves_is_two_endpoints_of_one_host_and_then_the_new_one() -> None:
    mesh = Mesh()
    old, new = instance("10.0.0.1:9080"), instance("10.0.0.1:9081")

    mesh.register(old, new)
    assert [str(e.key) for e in mesh.service().endpoints] == ["10.0.0.1:9080", "10.0.0.1:9081"]

    mesh.register(new)
    assert [str(e.key) for e in mesh.service().endpoints] == ["10.0.0.1:9081"]
