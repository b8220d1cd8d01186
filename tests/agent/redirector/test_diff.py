from collections.abc import Callable
from dataclasses import replace

import pytest

from hostmesh_agent.redirector import diff, plan, sequence
from hostmesh_agent.redirector.plan import Desired, NeverPorts
from hostmesh_agent.redirector.target import Target
from hostmesh_core.capture_plan import CapturePlan, InboundPort
from hostmesh_testing.model_kernel import V4, ModelKernel

PLAN = CapturePlan(proxy_uid=71, proxy_gid=72, agent_uid=73, inbound=(InboundPort(8080),))
WANTED = plan.build(
    PLAN,
    Target(inbound=True, outbound=True, endpoints=True),
    endpoints=[("10.0.0.5", 80)],
    never=NeverPorts(),
)


def _applied() -> ModelKernel:
    kernel = ModelKernel()
    kernel.run_all(sequence.steps(WANTED, kernel.look(), "default"))
    return kernel


def _out(kernel: ModelKernel) -> list[str]:
    return kernel.chains[V4]["HOSTMESH_DEFAULT_OUT"]


DRIFTS: list[tuple[str, Callable[[ModelKernel], object], str]] = [
    ("order", lambda k: _out(k).reverse(), "stand in another order"),
    ("twice", lambda k: _out(k).append(_out(k)[0]), "stand in another order or twice"),
    ("missing", lambda k: _out(k).pop(), "missing: "),
    ("extra", lambda k: _out(k).append("-j ACCEPT"), "not ours: -j ACCEPT"),
    ("jump", lambda k: k.chains[V4]["OUTPUT"].clear(), "0 jumps instead of 1"),
    ("two jumps", lambda k: k.chains[V4]["OUTPUT"].append(k.chains[V4]["OUTPUT"][0]), "2 jumps"),
    ("above", lambda k: k.chains[V4]["OUTPUT"].insert(0, "-j ACCEPT"), "1 rules of others stand"),
    (
        "old jump",
        lambda k: k.chains[V4]["INPUT"].append("-j HOSTMESH_DEFAULT_IN"),
        "jump to HOSTMESH_DEFAULT_IN is left over",
    ),
    (
        "old chain",
        lambda k: k.chains[V4].setdefault("HOSTMESH_DEFAULT_OLD", []),
        "chain HOSTMESH_DEFAULT_OLD is left over",
    ),
    (
        "guard",
        lambda k: k.tables[V4]["filter"]["HOSTMESH_DEFAULT_G_OUT"].pop(),
        "iptables filter HOSTMESH_DEFAULT_G_OUT: missing: ",
    ),
    (
        "no guard",
        lambda k: k.tables[V4].pop("filter"),
        "iptables filter: no rule is there",
    ),
    (
        "guarded too late",
        lambda k: k.tables[V4]["filter"]["INPUT"].insert(0, "-j ACCEPT"),
        "iptables filter INPUT: 1 rules of others stand before ours",
    ),
    ("set", lambda k: k.sets["hostmesh-default-v4"].clear(), "1 missing, 0 too many"),
    ("no set", lambda k: k.sets.pop("hostmesh-default-v6"), "set hostmesh-default-v6 is missing"),
    ("half set", lambda k: k.sets.setdefault("hostmesh-default-v4-n", set()), "is left over"),
    ("route", lambda k: k.routes.pop("240.240.0.0/16"), "is missing"),
    ("kind", lambda k: k.routes.update({"240.240.0.0/16": "blackhole"}), "is another"),
    ("old route", lambda k: k.routes.update({"240.241.0.0/16": "unicast"}), "is left over"),
    ("source", lambda k: setattr(k, "source", False), "address ::6/128 on lo is missing"),
]


@pytest.mark.parametrize(
    ("change", "said"), [pytest.param(change, said, id=name) for name, change, said in DRIFTS]
)
def test_each_drift_is_named_and_repaired(
    change: Callable[[ModelKernel], object], said: str
) -> None:
    kernel = _applied()
    assert diff.differences(WANTED, kernel.look(), "default") == []
    change(kernel)
    found = diff.differences(WANTED, kernel.look(), "default")
    assert any(said in sentence for sentence in found), found
    kernel.run_all(sequence.steps(WANTED, kernel.look(), "default"))
    assert diff.differences(WANTED, kernel.look(), "default") == []


def test_a_jump_of_another_instance_may_stand_above() -> None:
    kernel = _applied()
    kernel.chains[V4]["HOSTMESH_B_OUT"] = []
    kernel.chains[V4]["OUTPUT"].insert(0, "-p tcp -j HOSTMESH_B_OUT")
    assert diff.differences(WANTED, kernel.look(), "default") == []


def test_how_many_rules_are_there() -> None:
    kernel = _applied()
    assert diff.rule_count(kernel.look(), "default") == WANTED.rule_count
    assert diff.rule_count(kernel.look(), "other") == 0


def test_nothing_wanted_and_nothing_there() -> None:
    assert diff.differences(Desired(), ModelKernel().look(), "default") == []
    without = replace(WANTED, rules={})
    assert diff.differences(without, _applied().look(), "default") != []
