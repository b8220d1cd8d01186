from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hostmesh_agent.redirector.inputs import Inputs
from hostmesh_core.capture_plan import CapturePlan, InboundPort, OnDown
from hostmesh_core.redirect_files import RedirectState, Wanted
from hostmesh_testing.rooted_layout import RootedLayout, rooted_layout

PLAN = CapturePlan(
    proxy_uid=7, proxy_gid=7, agent_uid=8, inbound=(InboundPort(8080), InboundPort(9090))
)


@pytest.fixture
def layout() -> Iterator[RootedLayout]:
    with rooted_layout() as made:
        yield made


def _ports(layout: RootedLayout, plan: CapturePlan, withheld: set[int]) -> list[int]:
    Path(layout.capture_file).write_bytes(plan.encode())
    state = RedirectState(sequence=1, wanted=Wanted.CAPTURED, withheld=frozenset(withheld))
    Path(layout.redirect_state_file).write_bytes(state.encode())
    inputs = Inputs(layout)
    inputs.refresh()
    assert inputs.written_plan == plan, "the report names the file that was taken in"
    return [entry.port for entry in inputs.plan.inbound] if inputs.plan else []


def test_the_agent_can_withhold_a_port_and_add_none(layout: RootedLayout) -> None:
    assert _ports(layout, PLAN, set()) == [8080, 9090]
    assert _ports(layout, PLAN, {9090, 7070}) == [8080]


def test_a_direction_that_is_closed_gives_no_port_back(layout: RootedLayout) -> None:
    closed = replace(PLAN, on_down_inbound=OnDown.CLOSED)
    assert _ports(layout, closed, {9090}) == [8080, 9090]


def test_without_the_agent_s_word_everything_counts(layout: RootedLayout) -> None:
    Path(layout.capture_file).write_bytes(PLAN.encode())
    inputs = Inputs(layout)
    assert inputs.plan is None
    inputs.refresh()
    assert inputs.plan == PLAN
