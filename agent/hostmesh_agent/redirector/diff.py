"""Compares what should be in the kernel with what is, order included. Pure.

Sentences for `status`; an empty list is the only proof of "applied".
"""

from hostmesh_agent.redirector import families, saved
from hostmesh_agent.redirector.installed import Installed, shared_beside
from hostmesh_agent.redirector.plan import Desired
from hostmesh_agent.redirector.rules import Rules
from hostmesh_agent.redirector.saved import Table


def differences(desired: Desired, installed: Installed, instance: str) -> list[str]:
    """Say what differs, one sentence each."""
    found: list[str] = []
    for backend, tables in sorted(installed.tables.items(), key=lambda item: item[0].stem):
        wanted = desired.rules.get(backend.family, {}) if backend.default else {}
        for name, table in tables.items():
            rules = wanted.get(name, Rules())
            found += table_differences(rules, table, instance, f"{backend.stem} {name}")
        found += [
            f"{backend.stem} {name}: no rule is there"
            for name, rules in wanted.items()
            if name not in tables and rules.count
        ]
    found += _set_differences(desired, installed, instance)
    found += _shared_differences(desired, installed, instance)
    return found


def table_differences(rules: Rules, table: Table, instance: str, where: str) -> list[str]:
    """Compare one table."""
    prefix = families.chain_prefix(instance)
    wanted = dict(rules.chains)
    found = [
        f"{where}: chain {c} is left over" for c in table.own_chains(prefix) if c not in wanted
    ]
    for chain, lines in wanted.items():
        found += _chain_differences(lines, table.chains.get(chain), f"{where} {chain}")
    jumps = table.jumps(prefix)
    for chain, jump in rules.jumps:
        found += _jump_differences(table, chain, jump, f"{where} {chain}")
    for chain, rule in sorted(set(jumps) - set(rules.jumps)):
        found.append(f"{where} {chain}: jump to {saved.target(rule)} is left over")
    return found


def _chain_differences(
    wanted: tuple[str, ...], have: tuple[str, ...] | None, where: str
) -> list[str]:
    if have is None:
        return [f"{where}: the chain is missing"]
    if have == wanted:
        return []
    missing = [rule for rule in wanted if rule not in have]
    extra = [rule for rule in have if rule not in wanted]
    if not missing and not extra:
        return [f"{where}: the rules stand in another order or twice"]
    return [f"{where}: missing: {rule}" for rule in missing] + [
        f"{where}: not ours: {rule}" for rule in extra
    ]


def _jump_differences(table: Table, chain: str, jump: str, where: str) -> list[str]:
    """A jump stands once, and only jumps of other instances stand before it."""
    rules = table.chains.get(chain, ())
    if rules.count(jump) != 1:
        return [f"{where}: {rules.count(jump)} jumps instead of 1"]
    above = [rule for rule in rules[: rules.index(jump)] if not saved.is_ours(rule)]
    return [f"{where}: {len(above)} rules of others stand before ours"] if above else []


def _set_differences(desired: Desired, installed: Installed, instance: str) -> list[str]:
    found = []
    wanted = {families.endpoint_set(instance, f): items for f, items in desired.sets.items()}
    for name, items in wanted.items():
        have = installed.sets.get(name)
        if have is None:
            found.append(f"set {name} is missing")
        elif have != items:
            found.append(f"set {name}: {len(items - have)} missing, {len(have - items)} too many")
    found += [f"set {name} is left over" for name in sorted(set(installed.sets) - set(wanted))]
    return found


def _shared_differences(desired: Desired, installed: Installed, instance: str) -> list[str]:
    routes, _ = shared_beside(installed, instance)
    wanted = {
        r: kind for r, kind in desired.routes.items() if r not in routes or kind != "unreachable"
    }
    found = [
        f"route {route} ({kind}) is {'missing' if route not in installed.routes else 'another'}"
        for route, kind in sorted(wanted.items())
        if installed.routes.get(route) != kind
    ]
    extra = sorted(set(installed.routes) - set(desired.routes) - routes)
    found += [f"route {route} is left over" for route in extra]
    if desired.inbound_source and not installed.inbound_source:
        found.append("address ::6/128 on lo is missing")
    return found


def rule_count(installed: Installed, instance: str) -> int:
    """How many rules of this instance are in the kernel, jumps included."""
    prefix = families.chain_prefix(instance)
    return sum(
        len(table.jumps(prefix)) + sum(len(table.chains[c]) for c in table.own_chains(prefix))
        for tables in installed.tables.values()
        for table in tables.values()
    )
