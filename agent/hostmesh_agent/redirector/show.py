"""What would be installed, as text for people and as a value for machines; touches nothing."""

from collections.abc import Mapping

from hostmesh_agent.redirector import families, names, sequence
from hostmesh_agent.redirector.installed import Installed
from hostmesh_agent.redirector.plan import Desired
from hostmesh_agent.redirector.saved import Table
from hostmesh_agent.redirector.target import Target
from hostmesh_core.capture_plan import CapturePlan


def as_text(
    plan: CapturePlan, target: Target, desired: Desired, table: Mapping[str, tuple[str, str]]
) -> str:
    """Give the commands' input, in the order in which it would be used."""
    if not desired.rules:
        return "Nothing would be installed.\n"
    parts = []
    for family, items in sorted(desired.sets.items(), reverse=True):
        name = families.endpoint_set(plan.instance, family)
        temporary = families.next_set(plan.instance, family)
        parts.append(_titled("ipset restore", sequence.set_text(name, temporary, family, items)))
    for family, tables in sorted(desired.rules.items(), reverse=True):
        texts = [
            sequence.restore_text(rules, Table(), plan.instance, name=name, everything=True)
            for name, rules in tables.items()
        ]
        parts.append(_titled(f"{family.iptables}-restore --noflush", "".join(texts)))
    steps = sequence.route_steps(desired, Installed())
    routes = "".join(f"{' '.join(step.argv)}\n" for step in steps)
    if desired.inbound_source:
        routes += "ip address add ::6/128 dev lo\n"
    parts.append(_titled("ip", routes))
    kept, refused = names.allowed(plan, table, target.names)
    lines = names.lines(kept)
    if lines:
        parts.append(_titled("/etc/hosts", "\n".join([*lines, ""])))
    parts += [f"# note: {note}\n" for note in (*desired.notes, *refused)]
    return "\n".join(parts)


def as_value(
    plan: CapturePlan, target: Target, desired: Desired, table: Mapping[str, tuple[str, str]]
) -> dict[str, object]:
    """Give the same for `--output json`."""
    kept, refused = names.allowed(plan, table, target.names)
    return {
        "instance": plan.instance,
        "families": {
            f"ipv{family.value}": {
                "tables": {
                    name: {
                        "chains": {chain: list(lines) for chain, lines in rules.chains},
                        "jumps": [{"chain": chain, "rule": rule} for chain, rule in rules.jumps],
                    }
                    for name, rules in tables.items()
                },
                "endpoints": [f"{address},{port}" for address, port in sorted(items)],
            }
            for family, tables in sorted(desired.rules.items())
            for items in [desired.sets.get(family, frozenset[tuple[str, int]]())]
        },
        "routes": {route: kind.value for route, kind in sorted(desired.routes.items())},
        "addresses": ["::6/128"] if desired.inbound_source else [],
        "hosts": names.lines(kept),
        "notes": [*desired.notes, *refused],
    }


def _titled(title: str, text: str) -> str:
    return f"# {title}\n{text}"
