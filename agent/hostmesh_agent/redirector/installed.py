"""What is in the kernel now, of this instance and, where it is shared, of the others. Pure data."""

from dataclasses import dataclass, field

from hostmesh_agent.redirector import families
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.saved import Table


@dataclass(frozen=True, slots=True)
class Backend:
    """One kernel interface of iptables with one family: its programs begin with `stem`."""

    family: Family
    stem: str
    """`iptables`, `ip6tables-legacy`, …"""
    default: bool
    """Whether rules are put here; the other one is only cleaned."""
    legacy: bool = False
    """Whether it is the kernel's old interface."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A look at the kernel."""

    tables: dict[Backend, dict[str, Table]] = field(default_factory=dict)
    sets: dict[str, frozenset[tuple[str, int]]] = field(default_factory=dict)
    """Sets of this instance, the half-made ones included."""
    routes: dict[str, str] = field(default_factory=dict)
    """All routes that carry our mark, whoever's instance: destination to kind."""
    inbound_source: bool = False
    """Whether ::6 is on lo."""
    unreadable: frozenset[Family] = frozenset()
    """The families whose filter table is in a form that iptables cannot show."""

    @property
    def usable(self) -> frozenset[Family]:
        """The families in which rules can be put."""
        return frozenset(backend.family for backend in self.tables if backend.default)

    def instances_beside(self, instance: str) -> frozenset[str]:
        """Name the rules of other instances that share what is shared: their text."""
        own = families.chain_prefix(instance)
        return frozenset(
            rule
            for tables in self.tables.values()
            for table in tables.values()
            for chain, rules in table.chains.items()
            if chain.startswith(families.CHAIN_PREFIX) and not chain.startswith(own)
            for rule in rules
        )

    def any_chain(self) -> bool:
        """Whether any instance has a chain, in any table of any backend."""
        return any(
            table.own_chains(families.CHAIN_PREFIX)
            for tables in self.tables.values()
            for table in tables.values()
        )


def shared_beside(installed: Installed, instance: str) -> tuple[frozenset[str], bool]:
    """Give what other instances still need: (route destinations, whether ::6 on lo)."""
    rules = installed.instances_beside(instance)
    words = {word for rule in rules for word in rule.split()}
    inbound = any("--to-ports" in rule and "--dport" in rule for rule in rules)
    return frozenset(route for route in installed.routes if route in words), inbound
