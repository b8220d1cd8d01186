from dataclasses import replace
from itertools import product

import pytest

from hostmesh_agent.redirector.target import SERVING, NameScope, Serving, Target, decide
from hostmesh_core.capture_plan import CapturePlan, DnsBlock, InboundPort, OnDown
from hostmesh_core.redirect_files import Outcome, RedirectState, Wanted

OPEN = CapturePlan(proxy_uid=1, proxy_gid=1, agent_uid=2, inbound=(InboundPort(8080),))
CLOSED = replace(OPEN, on_down_inbound=OnDown.CLOSED, on_down_outbound=OnDown.CLOSED)
CLOSED_IN = replace(OPEN, on_down_inbound=OnDown.CLOSED)
CLOSED_OUT = replace(OPEN, on_down_outbound=OnDown.CLOSED)
CAPTURED, RELEASED, LEFT = (RedirectState(wanted=wanted) for wanted in Wanted)
GONE, HUNG = Serving(), Serving(alive=True)


def _short(target: Target) -> str:
    """Give what is in force as one word per thing."""
    parts = [
        ("in", target.inbound),
        ("vip", target.outbound),
        ("endpoints", target.endpoints),
        ("refuse", target.refuse_virtual),
        (target.names.name.lower(), target.names is not NameScope.NONE),
    ]
    return " ".join([name for name, on in parts if on] + [f"={target.outcome}"])


@pytest.mark.parametrize(
    ("plan", "state", "envoy", "expected"),
    [
        pytest.param(OPEN, CAPTURED, SERVING, "in vip endpoints all =applied", id="serving"),
        pytest.param(CLOSED, CAPTURED, SERVING, "in vip endpoints all =applied", id="closed too"),
        pytest.param(OPEN, CAPTURED, GONE, "refuse mesh =waiting", id="open, crashed"),
        pytest.param(OPEN, CAPTURED, HUNG, "refuse mesh =waiting", id="open, hung"),
        pytest.param(CLOSED, CAPTURED, GONE, "in vip endpoints all =waiting", id="closed, crashed"),
        pytest.param(CLOSED_IN, CAPTURED, GONE, "in refuse mesh =waiting", id="closed inbound"),
        pytest.param(CLOSED_OUT, CAPTURED, GONE, "vip endpoints all =waiting", id="closed out"),
        pytest.param(OPEN, None, GONE, "=waiting", id="early, open: nothing"),
        pytest.param(CLOSED, None, GONE, "in vip all =waiting", id="early, closed: no endpoints"),
        pytest.param(CLOSED_IN, None, GONE, "in =waiting", id="early, closed inbound"),
        pytest.param(OPEN, RELEASED, SERVING, "vip all =waiting", id="draining"),
        pytest.param(OPEN, RELEASED, HUNG, "vip all =waiting", id="draining, answers no more"),
        pytest.param(CLOSED_IN, RELEASED, HUNG, "in vip all =waiting", id="draining, closed in"),
        pytest.param(OPEN, RELEASED, GONE, "=removed", id="stopped, open"),
        pytest.param(CLOSED, RELEASED, GONE, "in vip endpoints all =waiting", id="stopped, closed"),
        pytest.param(CLOSED, LEFT, SERVING, "=removed", id="left: whatever closed says"),
        pytest.param(replace(OPEN, enabled=False), CAPTURED, SERVING, "=removed", id="explicit"),
        pytest.param(
            replace(OPEN, inbound=()),
            CAPTURED,
            SERVING,
            "vip endpoints all =applied",
            id="a pure client",
        ),
        pytest.param(
            replace(OPEN, dns=DnsBlock.OFF),
            CAPTURED,
            SERVING,
            "in vip endpoints =applied",
            id="dns off",
        ),
        pytest.param(
            replace(OPEN, dns=DnsBlock.OFF),
            CAPTURED,
            GONE,
            "refuse =waiting",
            id="dns off, crashed",
        ),
    ],
)
def test_what_is_in_force(
    plan: CapturePlan, state: RedirectState | None, envoy: Serving, expected: str
) -> None:
    assert _short(decide(plan, state, envoy)) == expected


EVERY = list(
    product(
        (OPEN, CLOSED, CLOSED_IN, CLOSED_OUT),
        (None, CAPTURED, RELEASED, LEFT),
        (SERVING, HUNG, GONE),
    )
)


@pytest.mark.parametrize(("plan", "state", "envoy"), EVERY)
def test_an_operators_removal_beats_everything(
    plan: CapturePlan, state: RedirectState | None, envoy: Serving
) -> None:
    assert decide(plan, state, envoy, switched_off=True) == Target()


@pytest.mark.parametrize(("plan", "state", "envoy"), EVERY)
def test_open_directions_hold_nothing_that_a_dead_envoy_would_refuse(
    plan: CapturePlan, state: RedirectState | None, envoy: Serving
) -> None:
    target = decide(plan, state, envoy)
    if not envoy.alive:
        assert target.inbound <= (plan.on_down_inbound is OnDown.CLOSED)
        assert target.outbound <= (plan.on_down_outbound is OnDown.CLOSED)
        assert target.endpoints <= target.outbound
    assert (target.outcome is Outcome.APPLIED) <= envoy.answers
    assert not (target.refuse_virtual and target.outbound)
