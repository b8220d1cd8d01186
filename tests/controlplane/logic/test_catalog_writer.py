"""What a catalog's writer without credentials of the mesh can do: nothing, or what is shown."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_controlplane.logic import merge, plaintext, service_state
from hostmesh_controlplane.logic.catalog import CatalogService
from hostmesh_controlplane.logic.service_state import ServiceRecord
from hostmesh_core.model import Health, Port, Protocol, ServiceState
from hostmesh_testing.catalogs import RATINGS, REVIEWS, Mesh, instance, listed, service

ROGUE = "10.0.0.66:9080"
VICTIMS = ("10.0.0.1:9080", "10.0.0.2:9080", "10.0.0.3:9080")
HOST_IDS = tuple(letter * 32 for letter in "abc")
STATES = pytest.mark.parametrize("state", [ServiceState.MIXED, ServiceState.MESH])


def meshed(state: ServiceState, *, listing: CatalogService | None = None) -> Mesh:
    """Three registered instances of reviews, listed by dc1, in a state."""
    mesh = Mesh()
    mesh.catalog("dc1", listing or service(*VICTIMS))
    for host_id, key in zip(HOST_IDS, VICTIMS, strict=True):
        mesh.register(instance(key, host_id=host_id), host_id=host_id)
    record = mesh.state.record(REVIEWS)
    mesh.take(merge.set_record(mesh.state, REVIEWS, replace(record, state=state)))
    return mesh


def used(mesh: Mesh) -> list[str]:
    """Give what clients are sent of reviews."""
    found = mesh.service().reachable
    return [str(e.key) for e in found if e.health is not Health.UNHEALTHY]


@STATES
def test_an_endpoint_that_he_adds_is_never_meshed(state: ServiceState) -> None:
    mesh = meshed(state)
    mesh.catalog("dc1", service(*VICTIMS, listed(ROGUE, labels=(("identity", "reviews"),))))
    (his,) = (e for e in mesh.service().endpoints if str(e.key) == ROGUE)
    assert his.identity is None
    assert (ROGUE in used(mesh)) is (state is ServiceState.MIXED)
    assert mesh.service().identities == meshed(state).service().identities


@STATES
def test_a_registered_key_in_a_service_of_his_leads_nowhere(state: ServiceState) -> None:
    mesh = meshed(state)
    mesh.catalog("dc1", service(VICTIMS[0], "[::ffff:10.0.0.2]:9080", ROGUE, host=RATINGS))
    assert mesh.table(RATINGS) == {ROGUE: "dc1"}
    withheld = mesh.service(RATINGS).withheld
    assert [str(one.key) for one in withheld] == list(VICTIMS[:2])
    assert all(REVIEWS in one.reason for one in withheld)


@STATES
def test_all_marked_critical_takes_out_the_smaller_half(state: ServiceState) -> None:
    mesh = meshed(state)
    critical = (listed(key, health=Health.UNHEALTHY, reason="critical") for key in VICTIMS)
    mesh.catalog("dc1", service(*critical))
    assert used(mesh) == list(VICTIMS[1:])
    assert any("beyond half" in sentence for sentence in mesh.service().conflicts)


@STATES
def test_all_deregistered_changes_nothing(state: ServiceState) -> None:
    mesh = meshed(state)
    mesh.catalog("dc1", None)
    assert used(mesh) == list(VICTIMS)
    assert mesh.service().state is state


def test_a_name_that_he_seeds_is_born_mixed_and_he_is_shown() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service(ROGUE))
    mesh.register(instance(VICTIMS[0]))
    assert mesh.service().state is ServiceState.MIXED
    assert {str(key): part for (key, _), part in plaintext.shares(mesh.service()).items()} == {
        ROGUE: 0.5
    }
    assert mesh.state.record(REVIEWS).state_set.by.endswith("a catalog lists it")


def test_a_name_that_he_seeds_is_born_mesh_where_the_token_says_so() -> None:
    mesh = Mesh()
    mesh.catalog("dc1", service(ROGUE))
    mesh.register(instance(VICTIMS[0], require_mesh=True))
    assert used(mesh) == [VICTIMS[0]]


def test_a_weight_of_his_draws_no_more_than_the_largest_that_was_there() -> None:
    weighted = service(*(listed(key, weight=10) for key in VICTIMS))
    mesh = meshed(ServiceState.MIXED, listing=weighted)
    mesh.catalog(
        "dc1", replace(weighted, endpoints=(*weighted.endpoints, listed(ROGUE, weight=65535)))
    )
    assert plaintext.share(plaintext.shares(mesh.service())) == 0.25
    assert any("counts with weight 10, not 65535" in text for text in mesh.service().conflicts)


def test_a_weight_of_his_on_a_registered_key_draws_nobody_there() -> None:
    mesh = meshed(ServiceState.MESH)
    mesh.catalog("dc1", service(listed(VICTIMS[0], weight=65535), *VICTIMS[1:]))
    assert [endpoint.weight for endpoint in mesh.service().reachable] == [1, 1, 1]


@pytest.mark.parametrize(
    ("take", "limit"),
    [pytest.param(True, 5, id="when it is asked to"), pytest.param(False, 1, id="never unasked")],
)
@pytest.mark.parametrize("cidrs", [(), ("10.0.0.0/24",)])
def test_allow_unmeshed_takes_the_weights_of_today(
    cidrs: tuple[str, ...], limit: int, *, take: bool
) -> None:
    mesh = meshed(ServiceState.MIXED)
    mesh.catalog("dc1", service(*VICTIMS, listed("10.0.0.4:9080", weight=5)))
    decision = service_state.allow_unmeshed(
        mesh.service(), mesh.state.record(REVIEWS), cidrs=cidrs, take_weights=take
    )
    mesh.take(merge.set_record(mesh.state, REVIEWS, decision.record))
    assert mesh.state.record(REVIEWS).weight_limit == limit
    assert [endpoint.weight for endpoint in mesh.service().reachable] == [1, 1, 1, limit]


def test_a_protocol_of_his_changes_no_registered_port() -> None:
    mesh = meshed(ServiceState.MESH)
    mesh.catalog("dc1", service(*VICTIMS, ports=(Port(9080, Protocol.TCP), Port(22, Protocol.TCP))))
    port = mesh.service().port(9080)
    assert port is not None
    assert port.protocol is Protocol.HTTP


@pytest.mark.parametrize("stronger", [RATINGS, REVIEWS])
def test_an_alias_of_another_service_is_not_his(stronger: str) -> None:
    mesh = Mesh()
    mesh.catalog("files", replace(service("10.0.0.9:80", host=stronger), aliases=("pay.example",)))
    other = REVIEWS if stronger == RATINGS else RATINGS
    mesh.catalog("dc1", replace(service(ROGUE, host=other), aliases=("pay.example", stronger)))
    assert mesh.service(stronger).aliases == ("pay.example",)
    assert mesh.service(other).aliases == ()
    assert len(mesh.service(other).conflicts) == 2


@st.composite
def words(draw: st.DrawFn) -> CatalogService | None:
    """Anything that a writer of dc1 can say of reviews."""
    if draw(st.integers(0, 3)) == 0:
        return None
    keys = draw(st.sets(st.sampled_from((*VICTIMS, ROGUE, "10.0.0.67:80")), max_size=5))
    return service(
        *(
            listed(
                key,
                port=draw(st.sampled_from((0, 9080, 443))),
                health=draw(st.sampled_from(Health)),
                weight=draw(st.sampled_from((1, 7, 65535))),
            )
            for key in sorted(keys)
        )
    )


@given(st.sampled_from((ServiceState.MIXED, ServiceState.MESH)), st.lists(words(), max_size=5))
def test_whatever_he_says(state: ServiceState, said: list[CatalogService | None]) -> None:
    mesh = meshed(state)
    for word in said:
        mesh.catalog("dc1", word)
        merged = mesh.service()
        assert merged.state is state
        assert merged.identities == meshed(state).service().identities
        of_victims = [e for e in merged.endpoints if str(e.key) in VICTIMS]
        assert all(endpoint.meshed for endpoint in of_victims)
        assert not any(
            endpoint.meshed for endpoint in merged.endpoints if endpoint not in of_victims
        )
        on_port = [e for e in of_victims if e.service_port == 9080]
        well = [e for e in on_port if e.health is not Health.UNHEALTHY]
        assert {str(e.key) for e in on_port} == set(VICTIMS)
        assert len(well) >= (1 if state is ServiceState.MIXED else 2)
        if state is ServiceState.MESH:
            assert all(endpoint.meshed for endpoint in merged.reachable)


def test_the_limit_survives_the_store() -> None:
    record = ServiceRecord(ServiceState.MIXED, weight_limit=10)
    assert ServiceRecord.from_bytes(record.to_bytes()) == record
