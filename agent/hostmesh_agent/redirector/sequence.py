"""The commands from what is installed to what should be, in an order that is safe at every stop.

Pure: argv and standard input. One table of a family changes in one transaction, so a kill leaves it
old or new. Between the commands (host-agent.md rule 16), putting in:

    sets, ::6, IPv6 nat, IPv6 guard, IPv4 nat, IPv4 guard, routes

each jump with its whole chain, and taking out in reverse; a route that refuses is a kind of taking
out. A route without its rules
would let a virtual address hang instead of being refused, and a connection tried meanwhile would
keep hanging: conntrack remembers its first packet's verdict. So routes come last and go first.
Nothing here drops but the guard, which drops a SYN that meets an older connection's entry (`guard`)
and is never there without the nat rules that lead in the next one. Nothing loops: the proxy's own
returns are in the same transaction as what they protect from.
"""

from dataclasses import dataclass

from hostmesh_agent.redirector import diff, families
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.installed import Backend, Installed, shared_beside
from hostmesh_agent.redirector.plan import Desired, Route
from hostmesh_agent.redirector.rules import Rules
from hostmesh_agent.redirector.saved import Table, target

WAIT_SECONDS = "5"
"""How long iptables waits for somebody else who holds its lock."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command."""

    argv: tuple[str, ...]
    stdin: str = ""
    guards: Family | None = None
    """The family whose guard this puts in or changes: capture goes on without it."""


def steps(
    desired: Desired, installed: Installed, instance: str, *, keep_source: bool = False
) -> list[Step]:
    """Give the commands; none where nothing differs. `keep_source`: ::6 on lo is not ours."""
    return [
        *_old_route_steps(desired, installed, instance),
        *_put_sets(desired, installed, instance),
        *_add_source(desired, installed),
        *_rule_steps(desired, installed, instance),
        *route_steps(desired, installed),
        *_drop_sets(desired, installed, instance),
        *([] if keep_source else _drop_source(desired, installed, instance)),
    ]


def restore_text(
    desired: Rules, table: Table, instance: str, *, name: str, everything: bool = False
) -> str:
    """Give iptables-restore's input for one table, or "" where nothing differs.

    `everything` gives it even then: what `show` prints for an empty table.
    """
    if not everything and not diff.table_differences(desired, table, instance, ""):
        return ""
    prefix = families.chain_prefix(instance)
    wanted = dict(desired.chains)
    stale = [chain for chain in table.own_chains(prefix) if chain not in wanted]
    lines = [f"*{name}"]
    # Naming a chain makes it, or empties the one that is there; the rest of the table stays.
    lines += [f":{chain} - [0:0]" for chain in [*wanted, *stale]]
    lines += [f"-D {chain} {rule}" for chain, rule in table.jumps(prefix)]
    lines += [f"-A {chain} {rule}" for chain, rules in wanted.items() for rule in rules]
    lines += [f"-I {chain} 1 {rule}" for chain, rule in reversed(desired.jumps)]
    lines += [f"-X {chain}" for chain in stale]
    return "\n".join([*lines, "COMMIT", ""])


def set_text(name: str, temporary: str, family: Family, items: frozenset[tuple[str, int]]) -> str:
    """Give `ipset restore`'s input: fill a set beside the live one, then swap; nobody sees half."""
    options = f"hash:ip,port family {family.inet} maxelem {families.SET_SIZE} -exist"
    lines = [f"create {name} {options}", f"create {temporary} {options}", f"flush {temporary}"]
    lines += [f"add {temporary} {address},tcp:{port}" for address, port in sorted(items)]
    return "\n".join([*lines, f"swap {temporary} {name}", f"destroy {temporary}", ""])


def _rule_steps(desired: Desired, installed: Installed, instance: str) -> list[Step]:
    """Give IPv6 before IPv4 and, for a removal, IPv4 before IPv6; old backends last."""
    removal = not desired.rules
    ordered = sorted(
        installed.tables.items(),
        key=lambda item: (not item[0].default, _order(item[0].family, removal=removal)),
    )
    found = []
    for backend, tables in ordered:
        wanted = desired.rules.get(backend.family, {}) if backend.default else {}
        before, after = _guard_texts(
            wanted.get(families.FILTER, Rules()), tables.get(families.FILTER, Table()), instance
        )
        texts = [
            restore_text(wanted.get(name, Rules()), tables.get(name, Table()), instance, name=name)
            for name in [*wanted, *(each for each in tables if each not in wanted)]
            if name != families.FILTER
        ]
        guards = backend.family if families.FILTER in wanted else None
        steps_ = [(before, guards), *((text, None) for text in texts), (after, guards)]
        found += [Step(_restore(backend), text, which) for text, which in steps_ if text]
    return found


def _guard_texts(wanted: Rules, have: Table, instance: str) -> tuple[str, str]:
    """Give what the guard becomes before the nat table changes, and what after: "" for nothing.

    In between it stops what both the old and the new rules stop and lets out what either lets out,
    so that at no moment it stops what no nat rule leads in.
    """
    prefix = families.chain_prefix(instance)
    chains = tuple(
        (chain, _meanwhile(have.chains[chain], rules))
        for chain, rules in wanted.chains
        if chain in have.chains
    )
    names = {chain for chain, _ in chains}
    less = Rules(chains, tuple(each for each in wanted.jumps if target(each[1]) in names))
    before = restore_text(less, have, instance, name=families.FILTER)
    between = _after(less, have, prefix) if before else have
    return before, restore_text(wanted, between, instance, name=families.FILTER)


def _meanwhile(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    leaves = [rule for rule in old if target(rule) == "RETURN" and rule not in new]
    stays = [rule for rule in new if target(rule) == "RETURN" or rule in old]
    return (*leaves, *stays)


def _after(rules: Rules, table: Table, prefix: str) -> Table:
    """Give a table as `restore_text` for these rules leaves it."""
    chains = {
        name: tuple(rule for rule in listed if not target(rule).startswith(prefix))
        for name, listed in table.chains.items()
        if not name.startswith(prefix)
    }
    for chain, rule in reversed(rules.jumps):
        chains[chain] = (rule, *chains.get(chain, ()))
    return Table(chains | dict(rules.chains), table.builtin, table.policies)


def _restore(backend: Backend) -> tuple[str, ...]:
    return (f"{backend.stem}-restore", "--wait", WAIT_SECONDS, "--noflush")


def _order(family: Family, *, removal: bool) -> int:
    return family.value if removal else -family.value


def _put_sets(desired: Desired, installed: Installed, instance: str) -> list[Step]:
    found = []
    for family, items in sorted(desired.sets.items(), reverse=True):
        name, temporary = (
            families.endpoint_set(instance, family),
            families.next_set(instance, family),
        )
        if installed.sets.get(name) != items or temporary in installed.sets:
            text = set_text(name, temporary, family, items)
            found.append(Step(("ipset", "restore"), text))
    return found


def _drop_sets(desired: Desired, installed: Installed, instance: str) -> list[Step]:
    wanted = {families.endpoint_set(instance, family) for family in desired.sets}
    made = {families.next_set(instance, family) for family in desired.sets}
    stale = sorted(set(installed.sets) - wanted - made)
    return [Step(("ipset", "destroy", name)) for name in stale]


def route_steps(desired: Desired, installed: Installed) -> list[Step]:
    """Give the routes that lead to rules: they come when the rules are there."""
    return [
        _route("replace" if route in installed.routes else "add", route, kind)
        for route, kind in sorted(desired.routes.items(), reverse=True)
        if kind is Route.LOOPBACK and installed.routes.get(route) != kind
    ]


def _old_route_steps(desired: Desired, installed: Installed, instance: str) -> list[Step]:
    """Give what has to be done to routes before the rules behind them go."""
    beside, _ = shared_beside(installed, instance)
    refused = [
        _route("replace" if route in installed.routes else "add", route, kind)
        for route, kind in sorted(desired.routes.items())
        if kind is Route.UNREACHABLE and installed.routes.get(route) != kind and route not in beside
    ]
    stale = sorted(set(installed.routes) - set(desired.routes) - beside)
    return [*refused, *(_route("del", route, installed.routes[route]) for route in stale)]


def _route(verb: str, destination: str, kind: str) -> Step:
    where = ("dev", "lo") if kind == Route.LOOPBACK else ()
    mark = ("proto", str(families.ROUTE_PROTOCOL))
    family = f"-{families.family_of(destination).value}"
    return Step(("ip", family, "route", verb, kind, destination, *where, *mark))


def _add_source(desired: Desired, installed: Installed) -> list[Step]:
    if not desired.inbound_source or installed.inbound_source:
        return []
    return [Step(("ip", "-6", "address", "add", "::6/128", "dev", "lo"))]


def _drop_source(desired: Desired, installed: Installed, instance: str) -> list[Step]:
    _, needed = shared_beside(installed, instance)
    if desired.inbound_source or needed or not installed.inbound_source:
        return []
    return [Step(("ip", "-6", "address", "del", "::6/128", "dev", "lo"))]
