from dataclasses import replace

import pytest

from hostmesh_controlplane.logic.stored_places import left_places, places, stored_part
from hostmesh_core.model import Health
from hostmesh_testing.catalogs import RATINGS, REVIEWS, instance, key

WEB = instance("10.0.0.1:9080", "[fd77::1]:9080")
FOUR, SIX = (REVIEWS, key("10.0.0.1:9080")), (REVIEWS, key("[fd77::1]:9080"))


def test_a_place_is_a_service_and_a_key() -> None:
    assert places([WEB]) == {FOUR, SIX}
    assert places([]) == frozenset()


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        pytest.param({FOUR, SIX}, ["10.0.0.1:9080", "[fd77::1]:9080"], id="all is stored"),
        pytest.param({FOUR}, ["10.0.0.1:9080"], id="the second address is not stored yet"),
        pytest.param(set(), [], id="nothing is stored yet"),
        pytest.param({(RATINGS, FOUR[1])}, [], id="the key is stored for another service"),
    ],
)
def test_only_what_is_stored_is_told(stored: set[tuple[str, object]], told: list[str]) -> None:
    unwell = replace(WEB, health=Health.UNHEALTHY)
    part = stored_part([unwell], stored)  # type: ignore[arg-type]
    assert [str(found) for one in part for found in one.keys] == told
    assert all(one.health is Health.UNHEALTHY for one in part), "its health waits for nothing"


@pytest.mark.parametrize(
    ("now", "held", "left"),
    [
        pytest.param((), (instance("10.0.0.9:9080"),), (WEB,), id="it moved and waits"),
        pytest.param((WEB,), (WEB,), (), id="it stays"),
        pytest.param((), (), (), id="it left in order"),
    ],
)
def test_what_has_moved_and_waits_has_not_left(
    now: tuple[object], held: tuple[object], left: tuple[object]
) -> None:
    assert left_places([WEB], now, held) == left  # type: ignore[arg-type]
