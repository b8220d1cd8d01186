import itertools

import pytest

from hostmesh_agent.redirector import diff, plan, sequence
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.plan import Desired, NeverPorts, Route
from hostmesh_agent.redirector.target import SERVING, Serving, decide
from hostmesh_testing import capture_cases
from hostmesh_testing.capture_cases import Case
from hostmesh_testing.model_kernel import ModelKernel, Refused

PAIRS = capture_cases.pairs(120, seed=7)
OTHERS = ["-m addrtype --dst-type LOCAL -j DOCKER", "-p udp -j ACCEPT"]


def _desired(case: Case) -> Desired:
    target = decide(case.plan, case.state, SERVING if case.target == "serving" else Serving())
    endpoints = case.state.endpoints if case.state else ()
    return plan.build(case.plan, target, endpoints=endpoints, never=NeverPorts())


def _kernel() -> ModelKernel:
    kernel = ModelKernel()
    for chains in kernel.chains.values():
        chains["DOCKER"] = []
        chains["OUTPUT"] += OTHERS
        chains["PREROUTING"] += OTHERS[:1]
    return kernel


def _go(kernel: ModelKernel, wanted: Desired) -> None:
    kernel.run_all(sequence.steps(wanted, kernel.look(), "default"))


def test_a_then_b_is_b_for_every_pair() -> None:
    for a, b in PAIRS:
        clean, walked = _kernel(), _kernel()
        _go(clean, _desired(b))
        _go(walked, _desired(a))
        _go(walked, _desired(b))
        assert walked.look() == clean.look()


def test_what_is_in_force_gives_no_command() -> None:
    for case, _ in PAIRS:
        kernel = _kernel()
        _go(kernel, _desired(case))
        assert sequence.steps(_desired(case), kernel.look(), "default") == []
        assert diff.differences(_desired(case), kernel.look(), "default") == []


def test_removal_leaves_what_was_there() -> None:
    for case, _ in PAIRS:
        kernel, before = _kernel(), _kernel().look()
        _go(kernel, _desired(case))
        _go(kernel, Desired())
        assert kernel.look() == before


def _is_safe(kernel: ModelKernel) -> None:
    """What rule 16 asks of every intermediate: no drop, no loop, ssh passes, others untouched."""
    for chains in kernel.chains.values():
        assert [rule for rule in chains["OUTPUT"] if "HOSTMESH" not in rule] == OTHERS
        assert not any("-j DROP" in rule for rules in chains.values() for rule in rules)
        jumped = any("HOSTMESH_DEFAULT_OUT" in rule for rule in chains["OUTPUT"])
        rules = chains.get("HOSTMESH_DEFAULT_OUT", [])
        if jumped:
            own = [i for i, rule in enumerate(rules) if "proxy" in rule and "-j RETURN" in rule]
            general = [
                i for i, r in enumerate(rules) if "virtual" in r or '"hostmesh: endpoint' in r
            ]
            assert len(own) == 2
            assert max(own) < min(general)
        assert not any("--dport 22 " in rule for rule in chains.get("HOSTMESH_DEFAULT_IN", []))
    lo = {route for route, kind in kernel.routes.items() if kind == Route.LOOPBACK}
    for route in lo:  # a route to lo without its rule would hang, and conntrack would remember
        family = kernel.chains.values()
        assert any(f"-d {route} " in r for c in family for r in c.get("HOSTMESH_DEFAULT_OUT", []))


def test_every_stop_on_the_way_is_safe_and_the_next_pass_ends_it() -> None:
    stops = 0
    for a, b in PAIRS:
        start = _kernel()
        _go(start, _desired(a))
        steps = sequence.steps(_desired(b), start.look(), "default")
        for count in range(len(steps) + 1):
            kernel = _kernel()
            _go(kernel, _desired(a))
            kernel.run_all(steps[:count])
            _is_safe(kernel)
            _go(kernel, _desired(b))
            assert diff.differences(_desired(b), kernel.look(), "default") == []
            stops += 1
    assert stops > 500


def test_a_set_that_was_half_filled_is_finished() -> None:
    wanted = _desired(next(case for pair in PAIRS for case in pair if _desired(case).sets))
    kernel = _kernel()
    _go(kernel, wanted)
    kernel.sets["hostmesh-default-v4-n"] = {("192.0.2.1", 1)}
    _go(kernel, wanted)
    assert "hostmesh-default-v4-n" not in kernel.sets


def _serving(vip4: str = "240.240.0.0/16", inbound: int = 1) -> Desired:
    for case in itertools.chain.from_iterable(PAIRS):
        if case.target == "serving" and case.plan.enabled and case.plan.vip4 == vip4:
            wanted = _desired(case)
            if bool(inbound) == bool(wanted.inbound_source):
                return wanted
    raise AssertionError("no such case")


def test_order_of_putting_in_and_of_taking_out() -> None:
    kernel = ModelKernel()
    there = [step.argv[0] for step in sequence.steps(_serving(), kernel.look(), "default")]
    assert there == ["ipset", "ipset", "ip", "ip6tables-restore", "iptables-restore", "ip", "ip"]
    _go(kernel, _serving())
    back = [step.argv[0] for step in sequence.steps(Desired(), kernel.look(), "default")]
    assert back == ["ip", "ip", "iptables-restore", "ip6tables-restore", "ipset", "ipset", "ip"]


def test_somebody_elses_inbound_source_stays() -> None:
    kernel = ModelKernel(source=True)
    _go(kernel, _serving())
    steps = sequence.steps(Desired(), kernel.look(), "default", keep_source=True)
    kernel.run_all(steps)
    assert kernel.source


def test_what_another_instance_needs_stays() -> None:
    kernel, wanted = ModelKernel(), _serving()
    _go(kernel, wanted)
    # The same rules under another instance's names.
    for backend, chains in kernel.chains.items():
        other = {
            name.replace("_DEFAULT_", "_OTHER_"): [r for r in rules if "--match-set" not in r]
            for name, rules in chains.items()
            if "_DEFAULT_" in name
        }
        kernel.tables[backend]["nat"] = chains | other
    _go(kernel, Desired())
    assert set(kernel.routes) == set(wanted.routes)
    assert kernel.source


@pytest.mark.parametrize("family", Family)
def test_one_transaction_per_family(family: Family) -> None:
    kernel = ModelKernel()
    steps = sequence.steps(_serving(), kernel.look(), "default")
    program = f"{family.iptables}-restore"
    texts = [step.stdin for step in steps if step.argv[0] == program]
    assert len(texts) == 1
    assert texts[0].count("COMMIT") == 1


def test_the_model_refuses_what_the_kernel_refuses() -> None:
    kernel = ModelKernel()
    _go(kernel, _serving())
    with pytest.raises(Refused):
        kernel.run(sequence.Step(("ipset", "destroy", "hostmesh-default-v4")))
    with pytest.raises(Refused):
        kernel.run(
            sequence.Step(
                ("iptables-restore", "--wait", "5", "--noflush"),
                "*nat\n:HOSTMESH_DEFAULT_OUT - [0:0]\n-X HOSTMESH_DEFAULT_OUT\nCOMMIT\n",
            )
        )
