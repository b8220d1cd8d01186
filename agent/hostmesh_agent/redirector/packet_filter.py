"""A packet filter as data, and what it does with a new connection. Pure.

iptables' and nft's rules are both brought into this form. A condition that depends on who calls is
neither true nor false (None); what hangs on it is no verdict for everybody.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from hostmesh_agent.redirector.families import Family

_DEPTH = 32


class Verdict(Enum):
    """What becomes of a new connection from an unknown caller."""

    ACCEPT = auto()
    REFUSE = auto()
    DEPENDS = auto()


@dataclass(frozen=True, slots=True)
class Probe:
    """A TCP connection's first packet as a filter of the input hook sees it."""

    port: int
    family: Family = Family.V4
    translated: bool = False
    """Its destination was rewritten (conntrack's DNAT)."""


Condition = Callable[[Probe], bool | None]


class Action(Enum):
    """What a rule does with what it matches."""

    ACCEPT = auto()
    REFUSE = auto()
    RETURN = auto()
    JUMP = auto()
    GOTO = auto()
    GO_ON = auto()
    """A log, a mark, a count."""
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: all conditions have to hold."""

    conditions: tuple[Condition, ...]
    action: Action
    chain: str = ""
    """Where JUMP and GOTO lead."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The chains of one table, from one chain of the input hook on."""

    name: str
    entry: str
    policy: Verdict
    chains: Mapping[str, tuple[Rule, ...]]
    families: frozenset[Family] = field(default_factory=lambda: frozenset(Family))


def verdict(filters: Iterable[Filter], probe: Probe) -> Verdict:
    """Give what all filters together do: one that refuses is enough."""
    found = [one_verdict(f, probe) for f in filters if probe.family in f.families]
    if Verdict.REFUSE in found:
        return Verdict.REFUSE
    return Verdict.DEPENDS if Verdict.DEPENDS in found else Verdict.ACCEPT


def one_verdict(filtering: Filter, probe: Probe) -> Verdict:
    """Give what one filter does."""
    final, depends = _walk(filtering, filtering.entry, probe, 0)
    final = final or filtering.policy
    return Verdict.DEPENDS if depends and final is Verdict.REFUSE else final


def _walk(filtering: Filter, chain: str, probe: Probe, depth: int) -> tuple[Verdict | None, bool]:
    """Give a chain's verdict, None where it returns, and whether some callers pass before it."""
    depends = False
    for rule in filtering.chains.get(chain, ()):
        matched = _holds(rule, probe)
        if matched is False:
            continue
        final, inner = _act(filtering, rule, probe, depth)
        if matched is None:
            # For some callers only: what lets them in counts, what keeps them out does not.
            depends = depends or inner or final is Verdict.ACCEPT or rule.action is Action.RETURN
            continue
        depends = depends or inner
        if final is not None or rule.action in (Action.RETURN, Action.GOTO):
            return final, depends
    return None, depends


def _holds(rule: Rule, probe: Probe) -> bool | None:
    found = [condition(probe) for condition in rule.conditions]
    if False in found:
        return False
    return None if None in found else True


def _act(filtering: Filter, rule: Rule, probe: Probe, depth: int) -> tuple[Verdict | None, bool]:
    match rule.action:
        case Action.ACCEPT:
            return Verdict.ACCEPT, False
        case Action.REFUSE:
            return Verdict.REFUSE, False
        case Action.JUMP | Action.GOTO if depth < _DEPTH:
            return _walk(filtering, rule.chain, probe, depth + 1)
        case _:
            return None, rule.action is Action.UNKNOWN
