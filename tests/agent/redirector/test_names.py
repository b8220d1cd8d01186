from dataclasses import replace

import pytest

from hostmesh_agent.redirector import names
from hostmesh_agent.redirector.target import NameScope
from hostmesh_core.capture_plan import CapturePlan

PLAN = CapturePlan(proxy_uid=7, proxy_gid=8, agent_uid=9, take_over=("reviews.service.consul",))
VIPS = ("240.240.0.5", "fd48:6d65:7368::5")
FULL = "reviews.default.mesh.internal"


@pytest.mark.parametrize(
    ("table", "scope", "kept"),
    [
        pytest.param({FULL: VIPS}, NameScope.ALL, {FULL}, id="a name of the mesh domain"),
        pytest.param(
            {FULL: VIPS, "reviews": VIPS}, NameScope.ALL, {FULL, "reviews"}, id="its short name"
        ),
        pytest.param({"reviews": VIPS}, NameScope.ALL, set(), id="a short name of nothing"),
        pytest.param(
            {FULL: VIPS, "reviews": ("240.240.0.6", "")},
            NameScope.ALL,
            {FULL},
            id="a short name that leads elsewhere",
        ),
        pytest.param(
            {"reviews.service.consul": VIPS},
            NameScope.ALL,
            {"reviews.service.consul"},
            id="an alias that root lists",
        ),
        pytest.param(
            {"reviews.service.consul": VIPS},
            NameScope.MESH,
            set(),
            id="an alias while Envoy restarts",
        ),
        pytest.param(
            {FULL: VIPS, "reviews": VIPS},
            NameScope.MESH,
            {FULL},
            id="the mesh's own while Envoy restarts",
        ),
        pytest.param({FULL: VIPS}, NameScope.NONE, set(), id="nothing is wanted"),
        pytest.param(
            {"details.service.consul": VIPS},
            NameScope.ALL,
            set(),
            id="an alias that root does not list",
        ),
        pytest.param({"example.com": VIPS}, NameScope.ALL, set(), id="somebody's name"),
        pytest.param({"mesh.internal": VIPS}, NameScope.ALL, set(), id="the domain itself"),
        pytest.param({FULL: ("10.0.0.5", "")}, NameScope.ALL, set(), id="a real address"),
        pytest.param(
            {FULL: ("240.240.0.5", "fd00::5")}, NameScope.ALL, set(), id="one real address"
        ),
        pytest.param({FULL: ("", "")}, NameScope.ALL, set(), id="no address"),
        pytest.param(
            {"localhost.x.mesh.internal": VIPS, "localhost": VIPS},
            NameScope.ALL,
            {"localhost.x.mesh.internal"},
            id="localhost",
        ),
    ],
)
def test_which_names_are_written(
    table: dict[str, tuple[str, str]], scope: NameScope, kept: set[str]
) -> None:
    found, refused = names.allowed(PLAN, table, scope)
    assert set(found) == kept
    if scope is NameScope.ALL:
        assert len(refused) == len(table) - len(kept)


def test_a_name_that_the_host_defines_itself_keeps_its_answer() -> None:
    found, refused = names.allowed(
        PLAN, {FULL: VIPS, "reviews": VIPS}, NameScope.ALL, taken=frozenset({"reviews"})
    )
    assert set(found) == {FULL}
    assert refused == ["name reviews is not written: this host's own configuration defines it"]


def test_another_mesh_domain_is_the_plans() -> None:
    plan = replace(PLAN, mesh_domain="corp.example")
    found, _ = names.allowed(plan, {FULL: VIPS, "a.b.corp.example": VIPS}, NameScope.ALL)
    assert set(found) == {"a.b.corp.example"}


def test_one_line_per_address_in_a_fixed_order() -> None:
    table = {
        "b.x.mesh.internal": ("240.240.0.10", "fd48:6d65:7368::a"),
        "a.x.mesh.internal": ("240.240.0.9", ""),
        "a": ("240.240.0.9", ""),
    }
    assert names.lines(table) == [
        "240.240.0.9 a.x.mesh.internal a",
        "240.240.0.10 b.x.mesh.internal",
        "fd48:6d65:7368::a b.x.mesh.internal",
    ]
