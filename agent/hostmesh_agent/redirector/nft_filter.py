"""nft's own input filters, from `nft --json list table`, in the form of `packet_filter`. Pure.

libnftables-json(5) has the schema. What is not known here depends on the caller; a rule that cannot
be read at all makes no verdict either.
"""

import json
from collections.abc import Mapping

from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.packet_filter import Action, Condition, Filter, Probe, Rule, Verdict

_FAMILIES = {
    "ip": frozenset({Family.V4}),
    "ip6": frozenset({Family.V6}),
    "inet": frozenset(Family),
}
_ACTIONS = {
    "accept": Action.ACCEPT,
    "drop": Action.REFUSE,
    "reject": Action.REFUSE,
    "return": Action.RETURN,
    "jump": Action.JUMP,
    "goto": Action.GOTO,
}
_SAY_NOTHING = ("counter", "log", "mangle", "comment", "meter", "set", "notrack")
_TABLES_OF_IPTABLES = (("ip", "filter"), ("ip6", "filter"))

Sets = Mapping[tuple[str, str, str], object]


def read(text: str) -> list[Filter]:
    """Give one filter per base chain on the input hook; iptables' own tables are left out."""
    objects = json.loads(text or "{}").get("nftables", [])
    sets = {_key(o["set"]): o["set"].get("elem", []) for o in objects if "set" in o}
    chains: dict[tuple[str, str], dict[str, list[Rule]]] = {}
    for entry in objects:
        if "rule" in entry:
            rule = entry["rule"]
            table = chains.setdefault((rule["family"], rule["table"]), {})
            table.setdefault(rule["chain"], []).extend(_read_rule(rule, sets))
    return [
        Filter(
            name=f"the nft table {family} {chain['table']}",
            entry=chain["name"],
            policy=Verdict.REFUSE if chain.get("policy") == "drop" else Verdict.ACCEPT,
            chains={n: tuple(r) for n, r in chains.get((family, chain["table"]), {}).items()},
            families=_FAMILIES[family],
        )
        for chain in (entry["chain"] for entry in objects if "chain" in entry)
        for family in [chain["family"]]
        if _filters_input(chain)
    ]


def _filters_input(chain: Mapping[str, object]) -> bool:
    own = (chain["family"], chain["table"]) not in _TABLES_OF_IPTABLES
    known = chain["family"] in _FAMILIES
    return own and known and (chain.get("type"), chain.get("hook")) == ("filter", "input")


def _key(named: Mapping[str, str]) -> tuple[str, str, str]:
    return named["family"], named["table"], named["name"]


def _read_rule(rule: Mapping[str, object], sets: Sets) -> list[Rule]:
    try:
        return _rules(rule, sets)
    except (AttributeError, KeyError, StopIteration, TypeError, ValueError):
        # A form that a later nft prints: no verdict, and no reason to stop.
        return [Rule((_unknown,), Action.UNKNOWN)]


def _rules(rule: Mapping[str, object], sets: Sets) -> list[Rule]:
    """Give a rule, or one per entry of its verdict map."""
    where = (str(rule["family"]), str(rule["table"]))
    conditions: list[Condition] = []
    expressions = rule.get("expr", [])
    for expression in expressions if isinstance(expressions, list) else []:
        for kind, value in expression.items():
            if kind in _ACTIONS:
                return [_end(conditions, kind, value)]
            if kind == "vmap":
                return _mapped(conditions, value, where, sets)
            if kind == "match":
                conditions.append(_match(value, where, sets))
            elif kind not in _SAY_NOTHING:
                conditions.append(_unknown)
    return [Rule(tuple(conditions), Action.GO_ON)]


def _end(conditions: list[Condition], kind: str, value: object) -> Rule:
    chain = str(value.get("target", "")) if isinstance(value, dict) else ""
    return Rule(tuple(conditions), _ACTIONS[kind], chain)


def _mapped(
    conditions: list[Condition], value: Mapping[str, object], where: tuple[str, str], sets: Sets
) -> list[Rule]:
    data = value["data"]
    entries = data.get("set", []) if isinstance(data, dict) else None
    if entries is None:  # a named map: its entries come and go
        return [Rule((*conditions, _unknown), Action.UNKNOWN)]
    found = []
    for right, action in entries:
        kind, argument = next(iter(action.items()))
        match = {"op": "==", "left": value["key"], "right": right}
        held = [*conditions, _match(match, where, sets)]
        if kind in _ACTIONS:
            found.append(_end(held, kind, argument))
    return found


def _match(match: Mapping[str, object], where: tuple[str, str], sets: Sets) -> Condition:
    right = _values(match["right"], where, sets)
    condition = _condition(match["left"], right)
    if match["op"] in ("==", "in"):
        return condition
    if match["op"] != "!=":
        return _unknown

    def negated(probe: Probe) -> bool | None:
        found = condition(probe)
        return None if found is None else not found

    return negated


def _values(right: object, where: tuple[str, str], sets: Sets) -> list[object] | None:
    """Give the values of a right side as a list; None where they cannot be told."""
    if isinstance(right, str) and right.startswith("@"):
        named = sets.get((*where, right[1:]))
        return list(named) if isinstance(named, list) else None
    if isinstance(right, dict) and "set" in right:
        return list(right["set"])
    return list(right) if isinstance(right, list) else [right]


def _condition(left: object, right: list[object] | None) -> Condition:
    if not isinstance(left, dict) or right is None:
        return _unknown
    kind, value = next(iter(left.items()))
    field = value if isinstance(value, dict) else {}
    name = (kind, str(field.get("protocol", "")), str(field.get("key", field.get("field", ""))))
    known: dict[tuple[str, str, str], Condition] = {
        ("meta", "", "iif"): lambda _: False if right == ["lo"] else None,
        ("meta", "", "iifname"): lambda _: False if right == ["lo"] else None,
        ("meta", "", "l4proto"): lambda _: bool({"tcp", 6} & set(map(_plain, right))),
        ("meta", "", "nfproto"): lambda probe: f"ipv{probe.family.value}" in right,
        ("payload", "ip", "protocol"): lambda probe: (
            probe.family is Family.V4 and bool({"tcp", 6} & set(map(_plain, right)))
        ),
        ("payload", "tcp", "dport"): lambda probe: any(_has(one, probe.port) for one in right),
        ("payload", "th", "dport"): lambda probe: any(_has(one, probe.port) for one in right),
        ("payload", "tcp", "flags"): lambda _: "syn" in right,
        ("ct", "", "state"): lambda _: "new" in right,
        ("ct", "", "status"): lambda probe: probe.translated and "dnat" in right,
        ("fib", "", ""): lambda _: _is_local(field, right),
    }
    if kind == "&":
        return _masked(value, right)
    return known.get(name) or _other(name)


def _other(name: tuple[str, str, str]) -> Condition:
    """What is asked of another protocol is false; anything else depends on the caller."""
    kind, protocol, _ = name
    if kind == "payload" and protocol in ("udp", "icmp", "icmpv6", "sctp", "dccp"):
        return lambda _: False
    if kind == "payload" and protocol in ("ip", "ip6"):
        family = Family.V4 if protocol == "ip" else Family.V6
        return lambda probe: None if probe.family is family else False
    return _unknown


def _masked(value: object, right: list[object]) -> Condition:
    """`tcp flags & (fin|syn|rst|ack) == syn`: a connection's first packet."""
    is_flags = "'tcp'" in str(value) and "'flags'" in str(value)
    return (lambda _: right == ["syn"]) if is_flags else _unknown


def _is_local(field: Mapping[str, object], right: list[object]) -> bool | None:
    return "local" in right if field.get("result") == "type" else None


def _has(value: object, port: int) -> bool:
    """Whether a value (a port, a range) names the port."""
    if isinstance(value, dict) and "range" in value:
        low, high = value["range"]
        return isinstance(low, int) and isinstance(high, int) and low <= port <= high
    return value == port


def _plain(value: object) -> object:
    return value if isinstance(value, str | int) else ""


def _unknown(_: Probe) -> None:
    return None
