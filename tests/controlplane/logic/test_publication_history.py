"""Any history of changes leads to the same bytes as its end alone, and each step names its own."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hostmesh_controlplane.logic.publication import Publication
from hostmesh_controlplane.logic.scope import Families, Scope
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import (
    Endpoint,
    Health,
    Locality,
    MeshChange,
    Port,
    Protocol,
    Service,
    ServiceState,
)
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.render_shown import differing, shown

NAMES = ("one", "two", "three")
PORTS = st.lists(
    st.builds(Port, st.sampled_from([80, 9080, 5432]), st.sampled_from(list(Protocol))),
    unique_by=lambda port: port.number,
    max_size=2,
).map(tuple)


def _endpoints(name: str) -> st.SearchStrategy[tuple[Endpoint, ...]]:
    one = st.builds(
        lambda last, port, meshed, weight, health, locality, six: mesh.endpoint(
            f"10.0.{NAMES.index(name)}.{last}",
            port,
            service=name if meshed else "",
            weight=weight,
            health=health,
            locality=locality,
            additional=(EndpointKey.of(f"fd00::{NAMES.index(name)}:{last}", port),) if six else (),
        ),
        st.integers(1, 3),
        st.sampled_from([80, 9080, 5432]),
        st.booleans(),
        st.integers(1, 2),
        st.sampled_from(list(Health)),
        st.sampled_from([Locality(), Locality("eu")]),
        st.booleans(),
    )
    return st.lists(one, max_size=3, unique_by=lambda each: each.key).map(tuple)


def _service(name: str) -> st.SearchStrategy[Service | None]:
    made = st.builds(
        lambda ports, endpoints, state, alias, vip, ids: replace(
            mesh.service(name, *endpoints, number=NAMES.index(name) + 1),
            ports=ports,
            state=state,
            aliases=(alias,) if alias else (),
            vip4=f"240.240.0.{vip}" if vip else "",
            identities=tuple(mesh.spiffe(each) for each in ids),
        ),
        PORTS,
        _endpoints(name),
        st.sampled_from(list(ServiceState)),
        st.sampled_from(["", "web.service.consul", "one", "two.default.mesh.internal"]),
        st.sampled_from([0, NAMES.index(name) + 1]),
        st.sets(st.sampled_from(NAMES)).map(sorted),
    )
    return st.none() | made


CHANGES = st.lists(
    st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), _service(name))),
    max_size=8,
)
SCOPES = st.sampled_from(
    [
        mesh.SCOPE,
        mesh.TWO_IDENTITIES,
        mesh.NO_IDENTITY,
        replace(mesh.SCOPE, namespace="elsewhere"),
        replace(mesh.SCOPE, families=Families(v4=True, v6=False)),
    ]
)


@settings(max_examples=60, deadline=None)
@given(CHANGES, SCOPES)
def test_any_history_ends_in_the_same_bytes_and_says_each_step(
    history: list[tuple[str, Service | None]], scope: Scope
) -> None:
    publication = Publication()
    now: dict[str, Service] = {}
    before = shown(publication, scope)
    for name, service in history:
        host = f"{name}.default.mesh.internal"
        touched = publication.apply([MeshChange(host, now.pop(host, None), service)])
        if service is not None:
            now[host] = service
        after = shown(publication, scope)
        for type_url, names in differing(before, after).items():
            assert names <= touched.get(type_url, frozenset())
        before = after
    assert before == shown(mesh.published(*now.values()), scope)
