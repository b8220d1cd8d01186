"""The rules, in the form in which iptables-save prints them. Pure.

Order is meaning here; host-agent.md 1.12 and its rules 1 to 28 give the reasons. Only TCP enters a
chain, so UDP and everything else of anybody's is never touched.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from hostmesh_agent.redirector import families, guard
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.rules import MULTIPORT, OPENING, Rules, Tables, why
from hostmesh_agent.redirector.target import Target
from hostmesh_core.capture_plan import CapturePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverPorts:
    """Ports that no configuration can have captured."""

    inbound: frozenset[int] = frozenset({22})
    """Everything that ssh listens on or has a session on, on this host."""
    outbound: frozenset[int] = frozenset({22})
    """What root configured ssh to listen on: hosts of one kind share it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Able:
    """What this kernel can do."""

    usable: frozenset[Family] = frozenset(Family)
    """The families that take rules."""
    guarded: frozenset[Family] = frozenset(Family)
    """The families that can have the guard."""


class Route(StrEnum):
    """What happens to packets for a virtual address before any rule is asked."""

    LOOPBACK = "unicast"
    """They leave by lo, so that the rules get to see them."""
    UNREACHABLE = "unreachable"
    """The caller gets EHOSTUNREACH at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """Everything that should be in the kernel for one instance."""

    rules: dict[Family, Tables] = field(default_factory=dict)
    sets: dict[Family, frozenset[tuple[str, int]]] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    inbound_source: bool = False
    """Whether ::6 has to be on lo."""
    notes: tuple[str, ...] = ()

    @property
    def rule_count(self) -> int:
        """How many rules this is, in all tables of all families."""
        return sum(rules.count for tables in self.rules.values() for rules in tables.values())

    @property
    def guarded(self) -> frozenset[Family]:
        """The families that have the guard."""
        return frozenset(f for f, tables in self.rules.items() if families.FILTER in tables)


def build(
    plan: CapturePlan,
    target: Target,
    *,
    endpoints: Iterable[tuple[str, int]] = (),
    never: NeverPorts,
    left: Mapping[int, str] = MappingProxyType({}),
    able: Able = Able(),
) -> Desired:
    """Give what should be in the kernel.

    `left`: declared ports that are not captured, each with its reason.
    """
    if not target.anything:
        return Desired(routes=_routes(plan, target, able.usable))
    ports, notes = _inbound_ports(plan, never, left)
    sets, refused = _sets(plan, endpoints, never)
    if refused:
        notes.append(f"{refused} endpoint addresses are not captured: outside what root allows")
    return Desired(
        rules={
            f: _tables(plan, target, ports, never, f, guarded=f in able.guarded)
            for f in sorted(able.usable)
        },
        sets={f: sets[f] for f in sorted(able.usable)} if target.endpoints else {},
        routes=_routes(plan, target, able.usable),
        inbound_source=target.inbound and Family.V6 in able.usable,
        notes=tuple(notes),
    )


def _routes(plan: CapturePlan, target: Target, usable: frozenset[Family]) -> dict[str, Route]:
    if not (target.outbound or target.refuse_virtual):
        return {}
    kind = Route.LOOPBACK if target.outbound else Route.UNREACHABLE
    return {_vip(plan, family): kind for family in sorted(usable)}


def _vip(plan: CapturePlan, family: Family) -> str:
    return plan.vip4 if family is Family.V4 else plan.vip6


def _inbound_ports(
    plan: CapturePlan, never: NeverPorts, left: Mapping[int, str]
) -> tuple[list[int], list[str]]:
    """Give the ports to capture, and a sentence for each declared one that is not."""
    ports, notes = [], []
    for port in sorted({entry.port for entry in plan.inbound}):
        if port in never.inbound:
            notes.append(f"port {port} is declared and not captured: ssh uses it")
        elif port in plan.exclude_inbound_ports:
            notes.append(f"port {port} is declared and not captured: exclude_inbound_ports")
        elif port in left:
            notes.append(f"port {port} is declared and not captured: {left[port]}")
        else:
            ports.append(port)
    return ports, notes


def _sets(
    plan: CapturePlan, endpoints: Iterable[tuple[str, int]], never: NeverPorts
) -> tuple[dict[Family, frozenset[tuple[str, int]]], int]:
    """Sort the agent's addresses by family; what root does not allow is counted and left out."""
    allowed = [ipaddress.ip_network(cidr) for cidr in plan.endpoint_cidrs]
    virtual = [ipaddress.ip_network(plan.vip4), ipaddress.ip_network(plan.vip6)]
    found: dict[Family, set[tuple[str, int]]] = {Family.V4: set(), Family.V6: set()}
    refused = 0
    for text, port in endpoints:
        address = ipaddress.ip_address(text)
        special = (
            address.is_loopback
            or address.is_link_local
            or address.is_multicast
            or address.is_unspecified
            or (address.version == 6 and address.ipv4_mapped is not None)
        )
        within = any(address.version == net.version and address in net for net in allowed)
        is_virtual = any(address.version == net.version and address in net for net in virtual)
        if special or is_virtual or not within or port in never.outbound:
            refused += 1
        else:
            found[Family(address.version)].add((str(address), port))
    return {family: frozenset(items) for family, items in found.items()}, refused


def _tables(
    plan: CapturePlan,
    target: Target,
    ports: list[int],
    never: NeverPorts,
    family: Family,
    *,
    guarded: bool,
) -> Tables:
    nat = _nat_rules(plan, target, ports, never, family)
    # The guard stops what the rule for real addresses would have led in: no rule, no guard.
    outbound = dict(nat.chains).get(families.outbound_chain(plan.instance))
    held = guard.rules(
        plan.instance,
        family,
        ports=ports if target.inbound else (),
        outbound=outbound if target.endpoints else None,
    )
    return {families.NAT: nat} | ({families.FILTER: held} if guarded and held.count else {})


def _nat_rules(
    plan: CapturePlan, target: Target, ports: list[int], never: NeverPorts, family: Family
) -> Rules:
    chains: list[tuple[str, tuple[str, ...]]] = []
    jumps: list[tuple[str, str]] = []
    if target.inbound:
        name = families.inbound_chain(plan.instance)
        chains.append((name, tuple(_inbound_rules(plan, ports))))
        # Containers' and routed traffic to somebody else's port 8080 is none of ours.
        match = f"! -i lo -p tcp {OPENING} -m addrtype --dst-type LOCAL"
        jumps.append(("PREROUTING", f"{match} {why('inbound')} -j {name}"))
    if target.outbound:
        name = families.outbound_chain(plan.instance)
        own = ports if target.inbound else []
        chains.append((name, tuple(_outbound_rules(plan, target, own, never, family))))
        jumps.append(("OUTPUT", f"-p tcp {OPENING} {why('outbound')} -j {name}"))
    return Rules(tuple(chains), tuple(jumps))


def _inbound_rules(plan: CapturePlan, ports: list[int]) -> list[str]:
    to = f"-j REDIRECT --to-ports {plan.inbound_port}"
    return [f"-p tcp -m tcp --dport {port} {to}" for port in ports]


def _outbound_rules(
    plan: CapturePlan, target: Target, own: list[int], never: NeverPorts, family: Family
) -> list[str]:
    """Give the order of DESIGN 10; every line of it can be defended by a rule of host-agent.md."""
    rules: list[str] = []
    for port in own:
        rules += _own_host_rules(plan, port, family)
    rules += [
        # Envoy's own traffic, by uid and by gid: an upgrade may change one and not the other.
        f"-m owner --uid-owner {plan.proxy_uid} {why('proxy')} -j RETURN",
        f"-m owner --gid-owner {plan.proxy_gid} {why('proxy')} -j RETURN",
    ]
    # Packets to a virtual address leave by lo, so this stands before every loopback return.
    rules += _to_envoy(plan, f"-d {_vip(plan, family)} -p tcp", "virtual address")
    rules += [
        f"-o lo {why('loopback')} -j RETURN",
        f"-d {family.loopback} {why('loopback')} -j RETURN",
        f"-d {family.link_local} {why('link-local')} -j RETURN",
    ]
    rules += _exclusions(plan, never, family)
    if target.endpoints:
        name = families.endpoint_set(plan.instance, family)
        rules += _to_envoy(plan, f"-p tcp -m set --match-set {name} dst,dst", "endpoint")
    return rules


def _own_host_rules(plan: CapturePlan, port: int, family: Family) -> list[str]:
    """Let a call from this host to its own service pass inbound once.

    The only exceptions to "the proxy's and the agent's own traffic is not captured": Envoy's, but
    not its inbound connection to the app (source 127.0.0.6 or ::6), and the agent's proof, told by
    its source port.
    """
    low, high = plan.proof_ports
    away = f"! -d {family.loopback} -o lo -p tcp -m tcp"
    local = "-m addrtype --dst-type LOCAL"
    to = f"-j REDIRECT --to-ports {plan.inbound_port}"
    return [
        f"! -s {family.inbound_source} {away} --dport {port} "
        f"-m owner --uid-owner {plan.proxy_uid} {local} {why('own service')} {to}",
        f"{away} --sport {low}:{high} --dport {port} "
        f"-m owner --uid-owner {plan.agent_uid} {local} {why('proof')} {to}",
    ]


def _to_envoy(plan: CapturePlan, match: str, reason: str) -> list[str]:
    """Send a match to Envoy: each identity's uid to its own port, all others to the common one."""
    rules = [
        f"{match} -m owner --uid-owner {identity.uid} {why(reason)} "
        f"-j REDIRECT --to-ports {identity.port}"
        for identity in plan.identity_ports
    ]
    return [*rules, f"{match} {why(reason)} -j REDIRECT --to-ports {plan.outbound_port}"]


def _exclusions(plan: CapturePlan, never: NeverPorts, family: Family) -> list[str]:
    uids = sorted({*plan.exclude_uids, plan.agent_uid} - {0} | ({0} & set(plan.exclude_uids)))
    rules = [f"-m owner --uid-owner {uid} {why('excluded uid')} -j RETURN" for uid in uids]
    ports = sorted(never.outbound | set(plan.exclude_outbound_ports))
    for start in range(0, len(ports), MULTIPORT):
        listed = ",".join(map(str, ports[start : start + MULTIPORT]))
        rules.append(f"-p tcp -m multiport --dports {listed} {why('excluded port')} -j RETURN")
    for cidr in plan.exclude_outbound_cidrs:
        if families.family_of(cidr) is family:
            where = "" if cidr.endswith("/0") else f"-d {cidr} "
            rules.append(f"{where}{why('excluded network')} -j RETURN")
    return rules
