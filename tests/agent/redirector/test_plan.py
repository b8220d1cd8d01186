import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_agent.redirector import families, plan
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.plan import Able, Desired, NeverPorts, Route
from hostmesh_agent.redirector.target import SERVING, Target, decide
from hostmesh_core.capture_plan import CapturePlan, InboundPort
from hostmesh_core.redirect_files import RedirectState, Wanted
from hostmesh_testing.golden import type_golden

PLAN = CapturePlan(proxy_uid=71, proxy_gid=72, agent_uid=73, inbound=(InboundPort(8080),))
ALL = Target(inbound=True, outbound=True, endpoints=True)


def _build(
    config: CapturePlan = PLAN,
    target: Target = ALL,
    endpoints: tuple[tuple[str, int], ...] = (),
    never: NeverPorts | None = None,
) -> Desired:
    return plan.build(config, target, endpoints=endpoints, never=never or NeverPorts())


def _rules(desired: Desired, chain: str, family: Family = Family.V4) -> list[str]:
    return list(dict(desired.rules[family]["nat"].chains)[f"HOSTMESH_DEFAULT_{chain}"])


def test_the_whole_of_it(golden: type_golden) -> None:
    config = replace(
        PLAN,
        inbound=(InboundPort(8080), InboundPort(9090)),
        exclude_outbound_ports=tuple(range(5000, 5020)),
        exclude_outbound_cidrs=("10.5.0.0/16", "fd05::/16"),
        exclude_uids=(0, 33),
    )
    desired = _build(config, endpoints=(("10.0.0.5", 80), ("fd00::5", 80)))
    lines = []
    for family, tables in sorted(desired.rules.items()):
        for name, rules in tables.items():
            lines.append(f"{family.iptables} {name}")
            lines += [f"  {chain} {rule}" for chain, rule in rules.jumps]
            lines += [f"  {chain} {rule}" for chain, listed in rules.chains for rule in listed]
    lines += [f"set {f.name} {sorted(items)}" for f, items in sorted(desired.sets.items())]
    lines += [f"route {route} {kind.value}" for route, kind in sorted(desired.routes.items())]
    golden("rules.txt", "\n".join([*lines, ""]))


@pytest.mark.parametrize(
    ("declared", "never", "excluded", "captured", "said"),
    [
        pytest.param((22, 80), {22}, (), [80], "ssh uses it", id="ssh's default"),
        pytest.param((2222, 80), {22, 2222}, (), [80], "ssh uses it", id="where sshd listens"),
        pytest.param((80, 81), {22}, (81,), [80], "exclude_inbound_ports", id="excluded"),
        pytest.param((80, 81), {22}, (), [80, 81], "", id="nothing in the way"),
    ],
)
def test_which_declared_ports_are_captured(
    declared: tuple[int, ...],
    never: set[int],
    excluded: tuple[int, ...],
    captured: list[int],
    said: str,
) -> None:
    config = replace(
        PLAN, inbound=tuple(map(InboundPort, declared)), exclude_inbound_ports=excluded
    )
    desired = _build(config, never=NeverPorts(inbound=frozenset(never)))
    assert [rule.split()[5] for rule in _rules(desired, "IN")] == list(map(str, captured))
    assert (said in " ".join(desired.notes)) if said else desired.notes == ()


@pytest.mark.parametrize(
    ("address", "port", "taken"),
    [
        pytest.param("10.0.0.5", 80, True, id="an ordinary address"),
        pytest.param("10.0.0.5", 22, False, id="its ssh"),
        pytest.param("192.168.0.5", 80, False, id="outside endpoint_cidrs"),
        pytest.param("127.0.0.1", 80, False, id="loopback"),
        pytest.param("169.254.169.254", 80, False, id="cloud metadata"),
        pytest.param("240.240.0.5", 80, False, id="a virtual address"),
        pytest.param("::ffff:10.0.0.5", 80, False, id="IPv4 in IPv6's clothes"),
        pytest.param("0.0.0.0", 80, False, id="no address"),
        pytest.param("224.0.0.5", 80, False, id="multicast"),
        pytest.param("fd00::5", 80, True, id="IPv6"),
        pytest.param("fe80::5", 80, False, id="IPv6 link-local"),
    ],
)
def test_which_endpoint_addresses_are_captured(address: str, port: int, taken: bool) -> None:  # noqa: FBT001
    cidrs = ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "240.0.0.0/4", "224.0.0.0/4", "::/0")
    config = replace(PLAN, endpoint_cidrs=cidrs)
    desired = _build(config, endpoints=((address, port),))
    assert any(desired.sets.values()) == taken
    assert bool(desired.notes) != taken


ADDRESSES = st.ip_addresses().map(str)
PORTS = st.integers(1, 65535)


@given(
    inbound=st.sets(PORTS, max_size=20),
    ssh=st.sets(PORTS, max_size=5),
    excluded=st.sets(PORTS, max_size=40),
    endpoints=st.sets(st.tuples(ADDRESSES, PORTS), max_size=20),
    uids=st.sets(st.integers(0, 2**32 - 2), max_size=5),
)
def test_no_configuration_captures_ssh_or_lets_the_proxy_loop(
    inbound: set[int],
    ssh: set[int],
    excluded: set[int],
    endpoints: set[tuple[str, int]],
    uids: set[int],
) -> None:
    config = replace(
        PLAN,
        inbound=tuple(map(InboundPort, sorted(inbound))),
        exclude_outbound_ports=tuple(sorted(excluded)),
        exclude_uids=tuple(sorted(uids)),
    )
    ports = frozenset(ssh | {22})
    target = decide(config, RedirectState(wanted=Wanted.CAPTURED), SERVING)
    never = NeverPorts(inbound=ports, outbound=ports)
    desired = plan.build(config, target, endpoints=endpoints, never=never)
    for family in Family:
        chains = dict(desired.rules[family]["nat"].chains)
        captured = {int(rule.split()[5]) for rule in chains.get("HOSTMESH_DEFAULT_IN", ())}
        assert captured == inbound - ports
        assert not {port for _, port in desired.sets[family]} & ports
        _proxy_leaves_first(list(chains["HOSTMESH_DEFAULT_OUT"]))
        listed = [rule for rule in chains["HOSTMESH_DEFAULT_OUT"] if "multiport" in rule]
        assert all(len(rule.split("--dports ")[1].split()[0].split(",")) <= 15 for rule in listed)


def _proxy_leaves_first(rules: list[str]) -> None:
    """Before the proxy's returns only the exceptions stand, and each of them names an owner."""
    returns = [i for i, rule in enumerate(rules) if '"hostmesh: proxy"' in rule]
    assert len(returns) == 2
    for rule in rules[: returns[0]]:
        assert "-o lo" in rule
        assert "--uid-owner" in rule
        assert "--dst-type LOCAL" in rule


def test_each_jump_takes_only_the_first_packet_of_tcp() -> None:
    for tables in _build().rules.values():
        for _, jump in itertools.chain.from_iterable(rules.jumps for rules in tables.values()):
            assert "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN" in jump


def test_a_refused_virtual_address_is_a_route_and_no_rule() -> None:
    desired = _build(target=Target(refuse_virtual=True))
    assert desired.rules == {}
    assert set(desired.routes.values()) == {Route.UNREACHABLE}


def test_a_family_that_the_kernel_lacks_gets_nothing() -> None:
    desired = plan.build(PLAN, ALL, never=NeverPorts(), able=Able(usable=frozenset({Family.V4})))
    assert set(desired.rules) == {Family.V4}
    assert set(desired.routes) == {PLAN.vip4}
    assert not desired.inbound_source


@pytest.mark.parametrize("instance", ["default", "a", "gateway-two", "x" * 63])
def test_names_fit_into_the_kernel(instance: str) -> None:
    assert len(families.outbound_chain(instance)) <= 28
    assert len(families.next_set(instance, Family.V6)) <= 31


def test_long_names_stay_apart() -> None:
    assert families.tag("gateway-of-payments-1") != families.tag("gateway-of-payments-2")
