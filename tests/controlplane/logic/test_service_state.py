import pytest

from hostmesh_controlplane.logic import merge
from hostmesh_controlplane.logic.service_state import (
    KeptService,
    Mark,
    ServiceRecord,
    allow_unmeshed,
    born,
    release,
    require_mesh,
    set_inbound,
)
from hostmesh_core.model import Health, InboundMode, Service, ServiceState
from hostmesh_testing.catalogs import HTTP_9080, REVIEWS, Mesh, instance, key, listed, service


def mixed(*unmeshed: str, health: Health = Health.HEALTHY) -> Mesh:
    mesh = Mesh()
    mesh.catalog("dc1", service(*(listed(text, health=health) for text in unmeshed)))
    mesh.register(instance("10.0.0.1:9080"))
    return mesh


@pytest.mark.parametrize(
    ("required", "listing", "certain", "state"),
    [
        pytest.param(False, False, True, ServiceState.MESH, id="unlisted for certain"),
        pytest.param(False, True, True, ServiceState.MIXED, id="listed"),
        pytest.param(False, False, False, ServiceState.MIXED, id="perhaps listed"),
        pytest.param(True, True, False, ServiceState.MESH, id="demanded"),
    ],
)
def test_birth(*, required: bool, listing: bool, certain: bool, state: ServiceState) -> None:
    assert born(required=required, listed=listing, sources_certain=certain) is state


def test_require_mesh_is_refused_while_a_healthy_unmeshed_endpoint_is_left() -> None:
    mesh = mixed("10.0.0.2:9080", "10.0.0.3:9080")
    decision = require_mesh(mesh.service(), mesh.state.record(REVIEWS), force=False)

    assert decision.refused == (
        f"cannot require mesh for {REVIEWS}: 2 endpoints are not meshed and healthy: "
        "10.0.0.2:9080 (dc1), 10.0.0.3:9080 (dc1); join them, or withhold them with "
        f"`hostmesh service require-mesh {REVIEWS} --force`"
    )
    assert decision.record == mesh.state.record(REVIEWS)


@pytest.mark.parametrize("way", ["forced", "only unhealthy ones are left"])
def test_require_mesh_withholds_what_is_unmeshed(way: str) -> None:
    forced = way == "forced"
    health = Health.HEALTHY if forced else Health.UNHEALTHY
    mesh = mixed("10.0.0.2:9080", health=health)
    decision = require_mesh(mesh.service(), mesh.state.record(REVIEWS), force=forced)
    assert decision.refused == ""

    mesh.take(merge.set_record(mesh.state, REVIEWS, decision.record))
    assert mesh.service().state is ServiceState.MESH
    assert [str(e.key) for e in mesh.service().reachable] == ["10.0.0.1:9080"]


def test_requiring_what_is_required_already_is_no_question() -> None:
    mesh = mixed("10.0.0.2:9080")
    set_at = Mark(1.0, "root")
    raised = require_mesh(mesh.service(), mesh.state.record(REVIEWS), force=True, mark=set_at)
    mesh.take(merge.set_record(mesh.state, REVIEWS, raised.record))
    record = mesh.state.record(REVIEWS)
    again = require_mesh(mesh.service(), record, force=False, mark=Mark(2.0, "ansible"))
    assert (again.refused, again.record) == ("", record)


def test_many_unmeshed_endpoints_are_not_all_named() -> None:
    mesh = mixed(*(f"10.0.0.{number}:9080" for number in range(2, 12)))
    decision = require_mesh(mesh.service(), mesh.state.record(REVIEWS), force=False)
    assert "10 endpoints are not meshed" in decision.refused
    assert "and 5 more" in decision.refused


def test_allow_unmeshed_lets_them_in_again() -> None:
    mesh = mixed("10.0.0.2:9080")
    raised = require_mesh(mesh.service(), mesh.state.record(REVIEWS), force=True).record
    mesh.take(merge.set_record(mesh.state, REVIEWS, raised))

    decision = allow_unmeshed(mesh.service(), mesh.state.record(REVIEWS))

    assert decision.record.state is ServiceState.MIXED
    mesh.take(merge.set_record(mesh.state, REVIEWS, decision.record))
    assert len(mesh.service().reachable) == 2


def test_allow_unmeshed_may_be_for_networks_alone() -> None:
    mesh = mixed("10.0.0.2:9080", "10.1.0.2:9080", "[fd77::2]:9080")
    record = ServiceRecord(ServiceState.MESH)
    decision = allow_unmeshed(mesh.service(), record, cidrs=("10.1.0.0/16",))
    mesh.take(merge.set_record(mesh.state, REVIEWS, decision.record))
    assert set(mesh.table()) == {"10.0.0.1:9080", "10.1.0.2:9080"}
    assert {w.reason for w in mesh.service().withheld} == {
        "not meshed, and outside the networks that allow-unmeshed admits"
    }


def test_allow_unmeshed_is_refused_where_it_would_be_taken_back_or_means_nothing() -> None:
    mesh = mixed("10.0.0.2:9080")
    record = ServiceRecord(ServiceState.MESH)
    refused = allow_unmeshed(mesh.service(), record, required_by="a.yaml:1").refused
    assert "a.yaml:1 says hostmesh.io/require-mesh; take the annotation out first" in refused
    plain = Service(REVIEWS, "default")
    assert "it is plain" in allow_unmeshed(plain, ServiceRecord()).refused


def test_the_inbound_mode_is_its_own_matter() -> None:
    mesh = mixed("10.0.0.2:9080")
    record = set_inbound(mesh.state.record(REVIEWS), InboundMode.STRICT)
    mesh.take(merge.set_record(mesh.state, REVIEWS, record))

    assert mesh.service().inbound is InboundMode.STRICT
    assert mesh.service().state is ServiceState.MIXED
    assert set_inbound(record, None).inbound is None


def test_ended_keys_are_released_by_name_or_all() -> None:
    first, second = key("10.0.0.1:80"), key("10.0.0.2:80")
    record = ServiceRecord(ServiceState.MIXED, ended=(first, second))
    assert release(record, (first,)).ended == (second,)
    assert release(record).ended == ()


@pytest.mark.parametrize(
    "record",
    [
        ServiceRecord(),
        ServiceRecord(
            ServiceState.MIXED,
            Mark(1.5, "root"),
            InboundMode.STRICT,
            Mark(2.5, "alice"),
            ("10.0.0.0/8", "fd77::/64"),
            (key("10.0.0.1:80"), key("[fd77::1]:80")),
            KeptService("default", (HTTP_9080,)),
        ),
    ],
    ids=["nothing", "everything"],
)
def test_records_survive_the_store(record: ServiceRecord) -> None:
    assert ServiceRecord.from_bytes(record.to_bytes()) == record
