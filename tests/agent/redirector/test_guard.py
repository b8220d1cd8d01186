import pytest

from hostmesh_agent.redirector import families, guard
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.plan import Able, NeverPorts, build
from hostmesh_agent.redirector.target import SERVING, Serving, decide
from hostmesh_core.capture_plan import CapturePlan, InboundPort, OnDown
from hostmesh_core.redirect_files import RedirectState, Wanted

PLAN = CapturePlan(proxy_uid=71, proxy_gid=72, agent_uid=73, inbound=(InboundPort(8080),))
STATE = RedirectState(wanted=Wanted.CAPTURED)
IN, OUT = "HOSTMESH_DEFAULT_G_IN", "HOSTMESH_DEFAULT_G_OUT"


def _chains(
    plan: CapturePlan,
    state: RedirectState | None = STATE,
    seen: Serving = SERVING,
    able: Able = Able(),  # noqa: B008 - a frozen value
) -> dict[str, tuple[str, ...]]:
    wanted = build(plan, decide(plan, state, seen), never=NeverPorts(), able=able)
    tables = wanted.rules.get(Family.V4, {})
    return dict(tables["filter"].chains) if "filter" in tables else {}


@pytest.mark.parametrize("family", Family)
def test_what_the_nat_chain_lets_out_the_guard_lets_out(family: Family) -> None:
    plan = CapturePlan(
        proxy_uid=71,
        proxy_gid=72,
        agent_uid=73,
        exclude_uids=(0, 33),
        exclude_outbound_ports=tuple(range(5000, 5020)),
        exclude_outbound_cidrs=("10.5.0.0/16", "fd05::/16"),
    )
    tables = build(plan, decide(plan, STATE, SERVING), never=NeverPorts()).rules[family]
    nat = dict(tables["nat"].chains)["HOSTMESH_DEFAULT_OUT"]
    held = dict(tables["filter"].chains)[OUT]
    assert held[:-2] == tuple(rule for rule in nat if "-j RETURN" in rule)
    assert [rule.split(" -j ")[1].split()[0] for rule in held[-2:]] == ["NFLOG", "DROP"]


CLOSED_IN = {"on_down_inbound": OnDown.CLOSED}
CLOSED_OUT = {"on_down_outbound": OnDown.CLOSED}


@pytest.mark.parametrize(
    ("closed", "state", "seen", "held"),
    [
        pytest.param({}, STATE, SERVING, {IN, OUT}, id="Envoy serves"),
        pytest.param({}, STATE, Serving(), set(), id="open, and Envoy is down"),
        pytest.param(CLOSED_IN, STATE, Serving(), {IN}, id="closed inbound, Envoy is down"),
        pytest.param(CLOSED_OUT, STATE, Serving(), {OUT}, id="closed outbound, Envoy is down"),
        pytest.param(CLOSED_OUT, None, Serving(), set(), id="at boot, no address known"),
        pytest.param(
            {}, RedirectState(), Serving(alive=True), set(), id="draining: real addresses are free"
        ),
    ],
)
def test_the_guard_is_there_with_the_rule_that_it_guards(
    closed: dict[str, OnDown], state: RedirectState | None, seen: Serving, held: set[str]
) -> None:
    plan = CapturePlan(
        proxy_uid=71,
        proxy_gid=72,
        agent_uid=73,
        inbound=(InboundPort(8080),),
        on_down_inbound=closed.get("on_down_inbound", OnDown.OPEN),
        on_down_outbound=closed.get("on_down_outbound", OnDown.OPEN),
    )
    assert _chains(plan, state, seen).keys() == held


def test_only_a_captured_port_is_guarded() -> None:
    ports = tuple(InboundPort(port) for port in (22, *range(8000, 8020)))
    plan = CapturePlan(proxy_uid=71, proxy_gid=72, agent_uid=73, inbound=ports)
    listed = [int(rule.split("--dport ")[1].split()[0]) for rule in _chains(plan)[IN]]
    assert listed[::2] == listed[1::2] == list(range(8000, 8020))


def test_a_kernel_that_cannot_have_it_gets_the_rest() -> None:
    assert _chains(PLAN, able=Able(guarded=frozenset({Family.V6}))) == {}


def test_each_jump_asks_for_a_first_packet_of_an_older_entry_that_nobody_redirected() -> None:
    held = guard.rules("default", Family.V4, ports=[8080], outbound=[])
    assert [chain for chain, _ in held.jumps] == ["INPUT", "OUTPUT"]
    for _, jump in held.jumps:
        assert "--tcp-flags FIN,SYN,RST,ACK SYN -m conntrack " in jump
        assert " -m conntrack ! --ctstate DNAT --ctstatus CONFIRMED " in jump


@pytest.mark.parametrize("instance", ["default", "gateway-two", "x" * 63])
def test_its_names_fit_into_the_kernel(instance: str) -> None:
    assert len(families.outbound_guard(instance)) <= 28
    assert 0 < families.log_group(instance) < 1 << 16


def test_instances_are_logged_apart() -> None:
    assert families.log_group("default") != families.log_group("gateway-two")
