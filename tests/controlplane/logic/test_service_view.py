from dataclasses import replace

import pytest

from hostmesh_controlplane.logic import merge, service_view
from hostmesh_controlplane.logic.service_state import Mark, ServiceRecord
from hostmesh_core.model import Port, Protocol, ServiceState
from hostmesh_testing.catalogs import RATINGS, REVIEWS, Mesh, instance, listed, service

GRPC_9080 = Port(9080, Protocol.GRPC)
SILENT_9080 = Port(9080, protocol_defaulted=True)


def _shown(mesh: Mesh, host: str = REVIEWS) -> service_view.Row:
    return service_view.detail(mesh.state, mesh.service(host))


def _rows(shown: service_view.Row, name: str) -> list[service_view.Row]:
    rows = shown[name]
    assert isinstance(rows, list)
    return rows


def test_every_source_that_claims_the_name_has_a_row_and_each_word_that_won_is_in_it() -> None:
    mesh = Mesh()
    consul = replace(service("10.0.0.2:9080"), stated_protocol=Protocol.TCP, origin="consul dc1")
    mesh.catalog("dc1", replace(consul, namespace="shop"))
    static = service("10.0.0.3:9080", listed("10.0.0.4:9080", held=True), ports=(SILENT_9080,))
    mesh.catalog("files", replace(static, origin="a.yaml:3"))
    mesh.register(instance("10.0.0.1:9080", port=GRPC_9080))

    rows = _rows(_shown(mesh), "catalogs")

    keys = ("source", "kind", "says", "won", "endpoints", "held", "origin")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("files", "static", ["9080/-"], ["namespace"], 2, 1, "a.yaml:3"),
        ("registered", "registered", ["9080/grpc"], ["protocol of 9080"], 1, 0, "1 host(s)"),
        ("dc1", "consul", ["protocol tcp"], [], 1, 0, "consul dc1"),
    ]
    assert "its namespace is default; dc1 says shop" in mesh.service().conflicts


@pytest.mark.parametrize(
    ("ports", "stated", "expected"),
    [
        pytest.param((GRPC_9080,), None, ("grpc", "files", False), id="its own catalog's word"),
        pytest.param((SILENT_9080,), Protocol.HTTP, ("http", "files", False), id="its meta's"),
        pytest.param((SILENT_9080,), None, ("tcp", "", True), id="nobody's"),
    ],
)
def test_a_port_says_whose_word_its_protocol_is(
    ports: tuple[Port, ...], stated: Protocol | None, expected: tuple[str, str, bool]
) -> None:
    mesh = Mesh()
    mesh.catalog("files", replace(service("10.0.0.3:9080", ports=ports), stated_protocol=stated))
    (row,) = _rows(_shown(mesh), "port_rows")
    assert (row["protocol"], row["word"], row["defaulted"]) == expected
    assert bool(row["note"]) == row["defaulted"]


@pytest.mark.parametrize("registered", [False, True], ids=["listed", "registered"])
def test_a_key_that_two_services_claim_is_shown_by_both(*, registered: bool) -> None:
    mesh = Mesh()
    mesh.register(instance("10.0.0.1:9080"))
    if registered:
        second = instance("10.0.0.1:9080", host=RATINGS, host_id="b" * 32)
        mesh.register(second, host_id="b" * 32)
    else:
        mesh.catalog("dc1", service("10.0.0.1:9080", "10.0.0.2:9080", host=RATINGS))

    for host in (REVIEWS, RATINGS):
        (row,) = _rows(_shown(mesh, host), "key_claims")
        assert (row["owner"], row["claimed_by"]) == (REVIEWS, RATINGS)
        assert row["sources"] == (["registered"] if registered else ["dc1"])
        said = service_view.notes(mesh.state, mesh.service(host))
        assert said == ([row["reason"]] if host == REVIEWS else [])
        assert len(mesh.service(host).withheld) == (host == RATINGS), "it says so itself"
    assert "10.0.0.1:9080" not in mesh.table(RATINGS), "and it gets no chain"


def test_keys_that_nobody_else_claims_are_no_news() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.1:9080"))
    mesh.register(instance("10.0.0.1:9080"))
    assert _shown(mesh)["key_claims"] == []
    assert service_view.notes(mesh.state, mesh.service()) == []


def test_a_list_of_all_services_does_not_name_a_thousand_keys() -> None:
    mesh = Mesh()
    mesh.register(*(instance(f"10.0.0.{n}:9080") for n in range(1, 21)))
    mesh.catalog("dc1", service(*(f"10.0.0.{n}:9080" for n in range(1, 21)), host=RATINGS))
    notes = service_view.notes(mesh.state, mesh.service())
    assert len(notes) == 6
    assert notes[-1] == "15 more such key(s): hostmesh service show"
    assert len(_rows(_shown(mesh), "key_claims")) == 20


def test_endpoints_out_of_reach_in_state_mesh_are_a_note() -> None:
    mesh = Mesh()
    mesh.register(instance("10.0.0.1:9080"))
    mesh.catalog("dc1", service("10.0.0.2:9080"))
    (note,) = service_view.notes(mesh.state, mesh.service())
    assert note == "1 endpoint(s) not meshed and withheld, because it requires the mesh"


def test_who_set_state_and_inbound_mode_and_when() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service("10.0.0.2:9080"))
    assert _shown(mesh)["state_set"] == {"at": "", "by": ""}
    record = ServiceRecord(ServiceState.MIXED, Mark(1_800_000_000.0, "alice (uid 7)"))
    mesh.take(merge.set_record(mesh.state, REVIEWS, record))
    assert _shown(mesh)["state_set"] == {"at": "2027-01-15 08:00:00Z", "by": "alice (uid 7)"}
    assert _shown(mesh)["inbound_own"] is False
