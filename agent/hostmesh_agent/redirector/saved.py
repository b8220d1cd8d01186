"""Reads what the kernel's tools print: iptables-save, ipset save, ip -json. Pure."""

import ipaddress
import json
import re
from dataclasses import dataclass, field

from hostmesh_agent.redirector.families import CHAIN_PREFIX


@dataclass(frozen=True, slots=True)
class Table:
    """One table as saved; rules without `-A <chain>`, in their order."""

    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Chain to its rules, chains in the order of the save."""
    builtin: frozenset[str] = frozenset()
    policies: dict[str, str] = field(default_factory=dict)
    """Built-in chain to its policy."""

    def own_chains(self, prefix: str) -> tuple[str, ...]:
        """Name the chains that begin with `prefix`."""
        return tuple(name for name in self.chains if name.startswith(prefix))

    def jumps(self, prefix: str) -> tuple[tuple[str, str], ...]:
        """Give (chain, rule) of each rule outside those chains that leads into one of them."""
        return tuple(
            (chain, rule)
            for chain, rules in self.chains.items()
            if not chain.startswith(prefix)
            for rule in rules
            if target(rule).startswith(prefix)
        )


def target(rule: str) -> str:
    """Give where a rule leads (`-j` or `-g`), or "" for a rule that only counts."""
    words = rule.split()
    for option in ("-j", "-g"):
        if option in words[:-1]:
            return words[len(words) - 1 - words[::-1].index(option) + 1]
    return ""


def is_ours(rule: str) -> bool:
    """Whether a rule leads into a chain of any instance."""
    return target(rule).startswith(CHAIN_PREFIX)


def parse_tables(text: str) -> dict[str, Table]:
    """Read iptables-save's text."""
    tables: dict[str, Table] = {}
    chains: dict[str, list[str]] = {}
    policies: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("*"):
            name, chains, policies = line[1:], {}, {}
        elif line.startswith(":"):
            chain, policy = line[1:].split()[:2]
            chains[chain] = []
            if policy != "-":
                policies[chain] = policy
        elif line.startswith("-A "):
            _, chain, *rule = line.split(" ", 2)
            chains.setdefault(chain, []).append(rule[0] if rule else "")
        elif line == "COMMIT":
            rules = {chain: tuple(lines) for chain, lines in chains.items()}
            tables[name] = Table(rules, frozenset(policies), policies)
    return tables


def incompatible(text: str) -> frozenset[str]:
    """Name the tables that iptables-save could not show: somebody's native nft rules are in."""
    return frozenset(re.findall(r"^# Table `(\w+)' is incompatible", text, re.MULTILINE))


def parse_set(text: str) -> frozenset[tuple[str, int]]:
    """Read the elements of one hash:ip,port set from `ipset save`."""
    found = set()
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["add"]:
            address, _, port = words[2].partition(",")
            # The kernel prints IPv4 in the one form there is; with 30,000 of them it counts.
            canonical = str(ipaddress.ip_address(address)) if ":" in address else address
            found.add((canonical, int(port.rpartition(":")[2])))
    return frozenset(found)


def parse_routes(text: str) -> dict[str, str]:
    """Read `ip -json route show`: destination to kind (unicast, unreachable, …)."""
    return {
        str(entry["dst"]): str(entry.get("type", "unicast")) for entry in json.loads(text or "[]")
    }
