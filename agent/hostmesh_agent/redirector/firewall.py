"""Asks the host's own firewall, as saved, what it would do with a port before and after. Pure.

A REDIRECT comes before the filter, so a captured packet reaches it as one to Envoy's inbound port,
marked as translated: a list of allowed ports would drop what it let in, and a rule such as "accept
what is translated" would let in what it dropped. Capture is a guest: a port whose fate would change
is left as it is, and it is said what would allow it.

iptables' rules are followed for a new connection from anywhere; a condition that depends on who
calls is neither true nor false, and what hangs on it is no verdict. nft tables of somebody's own
are only named.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from hostmesh_agent.redirector.saved import Table, target

_REFUSING = ("DROP", "REJECT")
_NOT_TERMINAL = ("LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "AUDIT", "")
_DEPTH = 32


class Verdict(Enum):
    """What a filter does with a new connection from an unknown caller."""

    ACCEPT = auto()
    REFUSE = auto()
    DEPENDS = auto()


@dataclass(frozen=True, slots=True)
class Probe:
    """A connection's first packet as the filter sees it."""

    port: int
    translated: bool = False


def changed_ports(
    tables: Mapping[str, Table], ports: Iterable[int], inbound_port: int
) -> dict[int, str]:
    """Give the ports whose fate capture would change, each with what to say about it."""
    table = tables.get("filter")
    if table is None or "INPUT" not in table.chains:
        return {}
    after = verdict(table, Probe(inbound_port, translated=True))
    found = {}
    for port in ports:
        before = verdict(table, Probe(port))
        if (before, after) == (Verdict.ACCEPT, Verdict.REFUSE):
            found[port] = (
                f"this host's firewall would drop it as port {inbound_port}: "
                f"allow tcp port {inbound_port} in iptables INPUT"
            )
        elif (before, after) == (Verdict.REFUSE, Verdict.ACCEPT):
            found[port] = (
                f"this host's firewall keeps it closed, and as port {inbound_port} it would be "
                f"open: allow tcp port {port} in iptables INPUT first"
            )
    return found


def notes(tables: Mapping[str, Table], native: Iterable[str], inbound_port: int) -> list[str]:
    """Give a sentence for each filter whose decision cannot be told from here.

    `tables`: iptables' by name; `native`: nft tables that filter inbound (`inet firewalld`).
    """
    found = [f"the nft table {name}" for name in native]
    table = tables.get("filter")
    if table is not None and "INPUT" in table.chains:
        after = verdict(table, Probe(inbound_port, translated=True))
        found += ["iptables INPUT"] if after is Verdict.DEPENDS else []
    return [
        f"this host filters inbound traffic ({name}), which sees a captured port as port "
        f"{inbound_port}: it has to let tcp port {inbound_port} in from the peers; a declared port "
        "that it closes can open"
        for name in found
    ]


def verdict(table: Table, probe: Probe) -> Verdict:
    """Follow INPUT."""
    final, depends = _walk(table, "INPUT", probe, 0)
    if final is None:
        refused = table.policies.get("INPUT", "ACCEPT") != "ACCEPT"
        final = Verdict.REFUSE if refused else Verdict.ACCEPT
    return Verdict.DEPENDS if depends and final is Verdict.REFUSE else final


def _walk(table: Table, chain: str, probe: Probe, depth: int) -> tuple[Verdict | None, bool]:
    """Give a chain's verdict, None where it returns, and whether some callers pass before it."""
    depends = False
    for rule in table.chains.get(chain, ()):
        matched = _matches(rule, probe)
        if matched is False:
            continue
        leads = target(rule)
        final, inner = _action(table, leads, probe, depth)
        if matched is None:
            # For some callers only: what lets them in counts, what keeps them out does not.
            depends = depends or inner or final is Verdict.ACCEPT or leads == "RETURN"
            continue
        depends = depends or inner
        if final is not None or leads == "RETURN" or _goes(rule):
            return final, depends
    return None, depends


def _action(table: Table, leads: str, probe: Probe, depth: int) -> tuple[Verdict | None, bool]:
    """Give what a rule's target decides, None where the packet goes on."""
    if leads == "ACCEPT":
        return Verdict.ACCEPT, False
    if leads in _REFUSING:
        return Verdict.REFUSE, False
    if leads in table.chains and depth < _DEPTH:
        return _walk(table, leads, probe, depth + 1)
    return None, leads not in _NOT_TERMINAL and leads != "RETURN"


def _goes(rule: str) -> bool:
    """Whether a rule is a goto: its chain's end is the end of this one too."""
    return f"-g {target(rule)}" in rule


def _matches(rule: str, probe: Probe) -> bool | None:
    """Whether a rule matches; None where that depends on the caller."""
    found: bool | None = True
    negated = False
    try:
        words = shlex.split(rule)
    except ValueError:
        return None
    index = 0
    while index < len(words) and words[index] not in ("-j", "-g"):
        word, value = words[index], "".join(words[index + 1 : index + 2])
        index += 1
        if word == "!":
            negated = True
            continue
        if not word.startswith("-"):
            continue  # a value that was looked at with its option
        one = _condition(word, value, words[index : index + 2], probe)
        one = None if one is None else one != negated
        negated = False
        if one is False:
            return False
        found = None if one is None else found
    return found


def _condition(option: str, value: str, values: list[str], probe: Probe) -> bool | None:
    """Whether one option holds; True for what says nothing, None for what depends."""
    listed = set(value.split(","))
    known: dict[str, bool | None] = {
        "-m": True,
        "--comment": True,
        "-p": value in ("tcp", "6", "all"),
        "-i": False if value == "lo" else None,
        "--dport": _in_ranges(probe.port, value),
        "--dports": _in_ranges(probe.port, value),
        "--ctstate": "NEW" in listed or (probe.translated and "DNAT" in listed),
        "--state": "NEW" in listed,
        "--ctstatus": probe.translated and "DNAT" in listed,
        "--dst-type": value == "LOCAL",
        "--tcp-flags": _is_first_packet(listed, values),
    }
    return known.get(option)


def _in_ranges(port: int, text: str) -> bool:
    """Whether `text` (`80`, `80,443`, `8000:9000`) names the port."""
    for part in text.split(","):
        low, _, high = part.partition(":")
        if low.isdigit() and int(low) <= port <= int(high or low):
            return True
    return False


def _is_first_packet(mask: set[str], values: list[str]) -> bool:
    """Whether a packet with SYN alone has exactly the wanted ones of the masked flags."""
    wanted = set("".join(values[1:2]).split(",")) - {"NONE", ""}
    return mask & {"SYN"} == wanted
