"""A kernel in memory that carries out the redirector's commands: pure, so that each prefix of a
sequence can be looked at."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hostmesh_agent.redirector import saved
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.installed import Backend, Installed
from hostmesh_agent.redirector.saved import Table
from hostmesh_agent.redirector.sequence import Step

BUILTIN = {
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
Chains = dict[str, list[str]]
V4 = Backend(Family.V4, "iptables", default=True)
V6 = Backend(Family.V6, "ip6tables", default=True)


class Refused(AssertionError):
    """The real kernel would have refused this command."""


@dataclass
class ModelKernel:
    """What `iptables-restore`, `ipset` and `ip` would do."""

    tables: dict[Backend, dict[str, Chains]] = field(
        default_factory=lambda: {
            backend: {table: {name: [] for name in BUILTIN[table]} for table in BUILTIN}
            for backend in (V4, V6)
        }
    )
    sets: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    routes: dict[str, str] = field(default_factory=dict)
    source: bool = False

    @property
    def chains(self) -> dict[Backend, Chains]:
        """The nat tables' chains."""
        return {backend: tables["nat"] for backend, tables in self.tables.items()}

    def look(self) -> Installed:
        """Give what the redirector would see."""
        return Installed(
            tables={
                backend: {
                    name: Table({c: tuple(r) for c, r in chains.items()}, frozenset(BUILTIN[name]))
                    for name, chains in tables.items()
                }
                for backend, tables in self.tables.items()
            },
            sets={name: frozenset(items) for name, items in self.sets.items()},
            routes=dict(self.routes),
            inbound_source=self.source,
        )

    def run_all(self, steps: Iterable[Step]) -> None:
        """Carry out all of a sequence."""
        for step in steps:
            self.run(step)

    def run(self, step: Step) -> None:
        """Carry out one command. Raises Refused."""
        match step.argv:
            case [program, "--wait", _, "--noflush"] if program.endswith("-restore"):
                backend = V4 if program == "iptables-restore" else V6
                self._restore(backend, step.stdin)
            case ["ipset", "restore"]:
                self._ipset(step.stdin)
            case ["ipset", "destroy", name]:
                self._unused(name)
                del self.sets[name]
            case ["ip", "-6", "address", verb, "::6/128", "dev", "lo"]:
                self.source = verb == "add"
            case ["ip", _, "route", verb, kind, destination, *_]:
                self._route(verb, str(kind), destination)
            case _:
                raise Refused(f"no such command: {step.argv}")

    def _restore(self, backend: Backend, text: str) -> None:
        """One transaction: a copy is changed and then takes the place of the old one."""
        first, *lines = text.splitlines()
        table = first.removeprefix("*")
        if any(line.startswith("*") for line in lines):
            raise Refused("iptables commits each table apart: one command, one table")
        there = self.tables[backend].get(table) or {name: [] for name in BUILTIN[table]}
        new = {name: list(rules) for name, rules in there.items()}
        for line in lines:
            _edit(new, line)
        for chain, rules in new.items():
            for rule in rules:
                self._check_rule(chain, rule, new)
        self.tables[backend][table] = new

    def _check_rule(self, chain: str, rule: str, chains: dict[str, list[str]]) -> None:
        target = saved.target(rule)
        if target.startswith("HOSTMESH_") and target not in chains:
            raise Refused(f"{chain} leads to {target}, which is not there")
        words = rule.split()
        if "--match-set" in words and words[words.index("--match-set") + 1] not in self.sets:
            raise Refused(f"{rule}: no such set")

    def _ipset(self, text: str) -> None:
        for line in text.splitlines():
            match line.split():
                case ["create", name, *_]:
                    self.sets.setdefault(name, set())
                case ["flush", name]:
                    self.sets[name] = set()
                case ["add", name, element]:
                    address, _, port = element.partition(",tcp:")
                    self.sets[name].add((address, int(port)))
                case ["swap", one, two]:
                    self.sets[one], self.sets[two] = self.sets[two], self.sets[one]
                case ["destroy", name]:
                    self._unused(name)
                    del self.sets[name]
                case _:
                    raise Refused(line)

    def _unused(self, name: str) -> None:
        rules = (
            rule
            for tables in self.tables.values()
            for chains in tables.values()
            for rules in chains.values()
            for rule in rules
        )
        if any(f"--match-set {name} " in rule for rule in rules):
            raise Refused(f"set {name} is in use")

    def _route(self, verb: str, kind: str, destination: str) -> None:
        if (verb == "add") == (destination in self.routes):
            raise Refused(f"cannot {verb} {destination}")
        if verb == "del":
            if self.routes.pop(destination) != kind:
                raise Refused(f"cannot delete {destination}: of another kind")
        else:
            self.routes[destination] = kind


def _edit(chains: dict[str, list[str]], line: str) -> None:
    """Carry out one line of iptables-restore's input."""
    word, _, rest = line.partition(" ")
    chain, _, rule = rest.partition(" ")
    match word:
        case "-A":
            chains[chain].append(rule)
        case "-I":
            chains[chain].insert(0, rule.removeprefix("1 "))
        case "-D":
            chains[chain].remove(rule)
        case "-X" if chains[chain]:
            raise Refused(f"{chain} is not empty")
        case "-X":
            del chains[chain]
        case _ if word.startswith(":"):
            chains[word[1:]] = []
        case _:
            return
