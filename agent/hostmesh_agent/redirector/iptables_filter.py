"""iptables' INPUT, as saved, in the form of `packet_filter`. Pure."""

import shlex

from hostmesh_agent.redirector.families import CHAIN_PREFIX, Family
from hostmesh_agent.redirector.packet_filter import Action, Condition, Filter, Probe, Rule, Verdict
from hostmesh_agent.redirector.saved import Table, is_ours, target

_GO_ON = ("LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "AUDIT", "")
_ACTIONS = {
    "ACCEPT": Action.ACCEPT,
    "DROP": Action.REFUSE,
    "REJECT": Action.REFUSE,
    "RETURN": Action.RETURN,
} | dict.fromkeys(_GO_ON, Action.GO_ON)


def read(table: Table, family: Family) -> Filter | None:
    """Give the filter table's INPUT, without what is ours in it; None where there is none."""
    if "INPUT" not in table.chains:
        return None
    chains = {
        name: tuple(_rule(table, text) for text in listed if not is_ours(text))
        for name, listed in table.chains.items()
        if not name.startswith(CHAIN_PREFIX)
    }
    refused = table.policies.get("INPUT", "ACCEPT") != "ACCEPT"
    policy = Verdict.REFUSE if refused else Verdict.ACCEPT
    return Filter("iptables INPUT", "INPUT", policy, chains, frozenset({family}))


def _rule(table: Table, text: str) -> Rule:
    leads = target(text)
    if leads in table.chains:
        action = Action.GOTO if f"-g {leads}" in text else Action.JUMP
    else:
        action = _ACTIONS.get(leads, Action.UNKNOWN)
    return Rule(_conditions(text), action, leads)


def _conditions(text: str) -> tuple[Condition, ...]:
    try:
        words = shlex.split(text)
    except ValueError:
        return (_unknown,)
    found: list[Condition] = []
    negated = False
    for index, word in enumerate(words):
        if word in ("-j", "-g"):
            break
        if word == "!":
            negated = True
        elif word.startswith("-"):
            one = _condition(word, words[index + 1 : index + 3])
            found.append(_not(one) if negated else one)
            negated = False
    return tuple(found)


def _condition(option: str, values: list[str]) -> Condition:
    """Give one option's condition; what is not known here depends on the caller."""
    value = "".join(values[:1])
    listed = frozenset(value.split(","))
    known: dict[str, Condition] = {
        "-m": lambda _: True,
        "--comment": lambda _: True,
        "-p": lambda _: value in ("tcp", "6", "all"),
        "-i": lambda _: False if value == "lo" else None,
        "--dport": lambda probe: _in_ranges(probe.port, value),
        "--dports": lambda probe: _in_ranges(probe.port, value),
        "--state": lambda _: "NEW" in listed,
        "--ctstate": lambda probe: "NEW" in listed or (probe.translated and "DNAT" in listed),
        "--ctstatus": lambda probe: probe.translated and "DNAT" in listed,
        "--dst-type": lambda _: value == "LOCAL",
        "--tcp-flags": lambda _: _is_first_packet(listed, values),
    }
    return known.get(option, _unknown)


def _unknown(_: Probe) -> None:
    return None


def _not(condition: Condition) -> Condition:
    def negated(probe: Probe) -> bool | None:
        found = condition(probe)
        return None if found is None else not found

    return negated


def _in_ranges(port: int, text: str) -> bool:
    """Whether `text` (`80`, `80,443`, `8000:9000`) names the port."""
    for part in text.split(","):
        low, _, high = part.partition(":")
        if low.isdigit() and int(low) <= port <= int(high or low):
            return True
    return False


def _is_first_packet(mask: frozenset[str], values: list[str]) -> bool:
    """Whether a packet with SYN alone has exactly the wanted ones of the masked flags."""
    wanted = set("".join(values[1:2]).split(",")) - {"NONE", ""}
    return mask & {"SYN"} == wanted
