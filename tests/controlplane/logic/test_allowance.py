"""One host's allowance of work, and what of it a flood of looks may take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_controlplane.logic.allowance import (
    BURST,
    CHANGE,
    PAUSE_FACTOR,
    PER_SECOND,
    Allowance,
    cost_of_look,
)


def _spent(cost: float, *, at: float = 100.0) -> Allowance:
    allowance = Allowance()
    allowance.spend(cost, began=at, ended=at)
    return allowance


@pytest.mark.parametrize(
    ("spent", "later", "wait"),
    [
        pytest.param(0.0, 0.0, 0.0, id="nothing was done yet"),
        pytest.param(BURST, 0.0, 0.0, id="a burst is at once"),
        pytest.param(BURST + PER_SECOND, 0.0, 1.0, id="what is overdrawn is waited for"),
        pytest.param(BURST + PER_SECOND, 0.4, 0.6, id="and less of it a little later"),
        pytest.param(BURST + PER_SECOND, 60.0, 0.0, id="in the end nothing"),
    ],
)
def test_how_long_work_waits(spent: float, later: float, wait: float) -> None:
    assert _spent(spent).wait(100.0 + later) == pytest.approx(wait)


def test_a_pause_of_some_times_what_it_took_lies_between_two_looks() -> None:
    allowance = Allowance()
    allowance.spend(1.0, began=100.0, ended=100.5)
    assert allowance.wait(100.5) == pytest.approx(0.5 * PAUSE_FACTOR)
    assert allowance.wait(100.5 + 0.5 * PAUSE_FACTOR) == 0


def test_a_look_costs_what_it_looks_at() -> None:
    assert cost_of_look(256) > 50 * cost_of_look(1)
    assert PER_SECOND == CHANGE, "a Register that changes something: about one a second"


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(1, 700)), max_size=200))
def test_over_any_time_no_host_has_more_than_its_rate_and_one_burst(
    wishes: list[tuple[float, float]],
) -> None:
    allowance, now, spent, last = Allowance(), 1000.0, 0.0, 0.0
    for pause, cost in wishes:
        now += pause
        if not allowance.wait(now):
            allowance.spend(cost, began=now, ended=now)
            spent, last = spent + cost, cost
    assert spent - last <= BURST + (now - 1000.0) * PER_SECOND + 1.0
