import itertools

import pytest

from hostmesh_agent.redirector import diff, plan, sequence
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.plan import Desired, NeverPorts, Route
from hostmesh_agent.redirector.sequence import Step
from hostmesh_agent.redirector.target import SERVING, Serving, Target, decide
from hostmesh_core.capture_plan import CapturePlan, InboundPort
from hostmesh_testing import capture_cases
from hostmesh_testing.capture_cases import Case
from hostmesh_testing.model_kernel import Chains, ModelKernel, Refused

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


def test_a_guard_that_loses_and_gains_stops_neither_while_the_nat_rules_change() -> None:
    def wanted(*ports: int) -> Desired:
        inbound = tuple(map(InboundPort, ports))
        config = CapturePlan(proxy_uid=71, proxy_gid=72, agent_uid=73, inbound=inbound)
        return plan.build(config, Target(inbound=True, outbound=True), never=NeverPorts())

    kernel = ModelKernel()
    _go(kernel, wanted(8080, 9090))
    steps = sequence.steps(wanted(8080, 7070), kernel.look(), "default")
    v4 = [step.stdin for step in steps if step.argv[0] == "iptables-restore"]
    assert [text.partition("\n")[0] for text in v4] == ["*filter", "*nat", "*filter"]
    assert ["--dport 7070" in text for text in v4] == [False, True, True]
    assert not any("--dport 9090" in text for text in v4)


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
    for tables in kernel.tables.values():
        _only_the_guard_drops(tables)
    for chains in kernel.chains.values():
        assert [rule for rule in chains["OUTPUT"] if "HOSTMESH" not in rule] == OTHERS
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


def _only_the_guard_drops(tables: dict[str, Chains]) -> None:
    """It drops first packets that meet an older entry, and only what nat rules lead in anew."""
    nat, held = tables["nat"], tables["filter"]
    assert not any("-j DROP" in rule for rules in nat.values() for rule in rules)
    dropping = {chain for chain, rules in held.items() if any("-j DROP" in r for r in rules)}
    assert dropping <= {"HOSTMESH_DEFAULT_G_IN", "HOSTMESH_DEFAULT_G_OUT"}
    for chain in ("INPUT", "OUTPUT"):
        for rule in (r for r in held[chain] if "HOSTMESH" in r):
            assert "--tcp-flags FIN,SYN,RST,ACK SYN " in rule
            assert "! --ctstate DNAT --ctstatus CONFIRMED " in rule
    stops = [r for r in held.get("HOSTMESH_DEFAULT_G_OUT", []) if "-j DROP" in r]
    led_in = [r for r in nat.get("HOSTMESH_DEFAULT_OUT", []) if '"hostmesh: endpoint' in r]
    assert len(stops) <= 1
    assert not stops or led_in
    stopped = {
        rule.split("--dport ")[1].split()[0] for rule in held.get("HOSTMESH_DEFAULT_G_IN", [])
    }
    assert stopped <= {r.split()[5] for r in nat.get("HOSTMESH_DEFAULT_IN", [])}


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
    v4, v6 = ["iptables-restore"] * 2, ["ip6tables-restore"] * 2
    assert there == ["ipset", "ipset", "ip", *v6, *v4, "ip", "ip"]
    put = _tables(sequence.steps(_serving(), kernel.look(), "default"))
    assert put == ["*nat", "*filter", "*nat", "*filter"]
    _go(kernel, _serving())
    back = [step.argv[0] for step in sequence.steps(Desired(), kernel.look(), "default")]
    assert back == ["ip", "ip", *v4, *v6, "ipset", "ipset", "ip"]
    taken = _tables(sequence.steps(Desired(), kernel.look(), "default"))
    assert taken == ["*filter", "*nat", "*filter", "*nat"]


def _tables(steps: list[Step]) -> list[str]:
    return [step.stdin.partition("\n")[0] for step in steps if step.stdin.startswith("*")]


def test_only_the_guard_may_fail() -> None:
    kernel = ModelKernel()
    put = sequence.steps(_serving(), kernel.look(), "default")
    assert [step.guards for step in put if step.guards] == [Family.V6, Family.V4]
    assert all(step.stdin.startswith("*filter") for step in put if step.guards)
    _go(kernel, _serving())
    assert not any(step.guards for step in sequence.steps(Desired(), kernel.look(), "default"))


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
def test_one_transaction_per_table(family: Family) -> None:
    kernel = ModelKernel()
    steps = sequence.steps(_serving(), kernel.look(), "default")
    program = f"{family.iptables}-restore"
    texts = [step.stdin for step in steps if step.argv[0] == program]
    assert [text.partition("\n")[0] for text in texts] == ["*nat", "*filter"]
    assert [text.count("COMMIT") for text in texts] == [1, 1]


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
