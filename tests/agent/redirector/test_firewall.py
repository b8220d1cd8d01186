import json

import pytest

from hostmesh_agent.redirector import firewall, iptables_filter, nft_filter, saved
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.packet_filter import Filter, Probe, Verdict, one_verdict
from hostmesh_testing import capture_foreign

NEW = "-p tcp -m conntrack --ctstate NEW -m tcp --dport"
ESTABLISHED = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


def _table(*lines: str, policy: str = "DROP", chains: tuple[str, ...] = ()) -> Filter:
    heads = [f":INPUT {policy} [0:0]", *(f":{chain} - [0:0]" for chain in chains)]
    return _iptables("\n".join(["*filter", *heads, *lines, "COMMIT"]))[0]


def _iptables(text: str) -> list[Filter]:
    table = saved.parse_tables(text).get("filter", saved.Table())
    return [f for family in Family if (f := iptables_filter.read(table, family))]


ACCEPT, REFUSE, DEPENDS = Verdict.ACCEPT, Verdict.REFUSE, Verdict.DEPENDS


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param(_table(policy="ACCEPT"), ACCEPT, id="no rule"),
        pytest.param(_table(), REFUSE, id="everything dropped"),
        pytest.param(_table("-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT"), ACCEPT, id="allowed"),
        pytest.param(_table("-A INPUT -p tcp -m tcp --dport 8081 -j ACCEPT"), REFUSE, id="another"),
        pytest.param(_table("-A INPUT -p udp -m udp --dport 8080 -j ACCEPT"), REFUSE, id="UDP"),
        pytest.param(
            _table("-A INPUT -p tcp -m tcp --dport 8000:9000 -j ACCEPT"), ACCEPT, id="a range"
        ),
        pytest.param(
            _table("-A INPUT -p tcp -m multiport --dports 80,8080 -j ACCEPT"), ACCEPT, id="a list"
        ),
        pytest.param(_table("-A INPUT -i lo -j ACCEPT", ESTABLISHED), REFUSE, id="lo and old ones"),
        pytest.param(
            _table("-A INPUT ! -i lo -p tcp -j REJECT", policy="ACCEPT"), REFUSE, id="all but lo"
        ),
        pytest.param(
            _table("-A INPUT -s 10.0.0.0/8 -j ACCEPT"), DEPENDS, id="some callers are let in"
        ),
        pytest.param(
            _table("-A INPUT -s 192.0.2.1/32 -j DROP", policy="ACCEPT"), ACCEPT, id="one is banned"
        ),
        pytest.param(_table("-A INPUT -i eth1 -j ACCEPT"), DEPENDS, id="one interface"),
        pytest.param(
            _table("-A INPUT -j X", "-A X -p tcp -m tcp --dport 8080 -j ACCEPT", chains=("X",)),
            ACCEPT,
            id="in another chain",
        ),
        pytest.param(
            _table("-A INPUT -j X", "-A X -j RETURN", "-A X -j ACCEPT", chains=("X",)),
            REFUSE,
            id="a chain that returns",
        ),
        pytest.param(
            _table("-A INPUT -g X", "-A INPUT -j ACCEPT", chains=("X",)),
            REFUSE,
            id="a goto does not come back",
        ),
        pytest.param(
            _table('-A INPUT -j LOG --log-prefix "drop: "', policy="ACCEPT"), ACCEPT, id="a log"
        ),
        pytest.param(
            _table(
                "-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP", policy="ACCEPT"
            ),
            REFUSE,
            id="first packets",
        ),
        pytest.param(
            _table(f'-A INPUT {NEW} 8080 -m comment --comment "a -j DROP b" -j ACCEPT'),
            ACCEPT,
            id="a comment that looks like a target",
        ),
        pytest.param(
            _table("-A INPUT -m conntrack --ctstate INVALID -j ACCEPT"), REFUSE, id="broken ones"
        ),
        pytest.param(_table('-A INPUT -m comment --comment "x -j ACCEPT'), DEPENDS, id="unread"),
    ],
)
def test_what_a_filter_does_with_a_new_connection_to_8080(table: Filter, expected: Verdict) -> None:
    assert one_verdict(table, Probe(8080)) is expected


def test_a_translated_packet_is_told_apart() -> None:
    table = _table("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT")
    assert one_verdict(table, Probe(15006)) is REFUSE
    assert one_verdict(table, Probe(15006, translated=True)) is ACCEPT


ALLOW = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT\nCOMMIT\n"
UFW_DENY = capture_foreign.UFW.replace("*filter\n", "*filter\n:INPUT DROP [0:0]\n")


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        pytest.param("", set(), id="no firewall"),
        pytest.param(ALLOW, {8080}, id="an allow-list would shut the open port"),
        pytest.param(ALLOW.replace("8080", "15006"), {8080, 9090}, id="a closed one would open"),
        pytest.param(
            ALLOW.replace("COMMIT", "-A INPUT -p tcp -m tcp --dport 15006 -j ACCEPT\nCOMMIT"),
            {9090},
            id="both allowed: only the closed one changes",
        ),
        pytest.param(UFW_DENY, {8080}, id="ufw"),
        pytest.param(capture_foreign.DOCKER, set(), id="Docker"),
        pytest.param(capture_foreign.FIREWALLD, set(), id="firewalld, open by policy"),
    ],
)
def test_which_ports_capture_would_change(text: str, changed: set[int]) -> None:
    found = firewall.changed_ports(_iptables(text), (8080, 9090), 15006)
    assert set(found) == changed
    assert all("allow tcp port " in reason for reason in found.values())


def test_our_own_guard_is_no_firewall() -> None:
    guard = (
        "*filter\n:INPUT ACCEPT [0:0]\n:HOSTMESH_DEFAULT_G_IN - [0:0]\n"
        "-A INPUT ! -i lo -p tcp -j HOSTMESH_DEFAULT_G_IN\n"
        "-A HOSTMESH_DEFAULT_G_IN -p tcp -m tcp --dport 8080 -j NFLOG --nflog-group 61639\n"
        "-A HOSTMESH_DEFAULT_G_IN -p tcp -m tcp --dport 8080 -j DROP\nCOMMIT\n"
    )
    table = saved.parse_tables(guard)["filter"]
    found = iptables_filter.read(table, Family.V4)
    assert found is not None
    assert found.chains == {"INPUT": ()}
    assert firewall.changed_ports([found], (8080,), 15006) == {}
    assert firewall.notes([found], 15006) == []


def test_what_depends_on_the_caller_is_said() -> None:
    some = "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -j ACCEPT\nCOMMIT"
    found = firewall.notes(_iptables(some), 15006)
    assert ["(iptables INPUT)" in note for note in found] == [True]
    assert firewall.notes(_iptables(ALLOW), 15006) == []


def _nft(*rules: object, policy: str = "drop", sub: object = None) -> list[Filter]:
    """Give a table of nft's own as `nft --json` prints it."""
    where = {"family": "inet", "table": "guard"}
    base = {"type": "filter", "hook": "input", "prio": 0, "policy": policy, "name": "input"}
    objects: list[object] = [{"metainfo": {"version": "1.0.6"}}, {"chain": {**where, **base}}]
    objects += [{"set": {**where, "name": "ok", "elem": [80, {"range": [8000, 9000]}]}}]
    objects += [{"rule": {**where, "chain": "input", "expr": rule}} for rule in rules]
    objects += [{"rule": {**where, "chain": "sub", "expr": sub}}] if sub else []
    return nft_filter.read(json.dumps({"nftables": objects}))


def _is(left: object, right: object, op: str = "==") -> dict[str, object]:
    return {"match": {"op": op, "left": left, "right": right}}


PORT = {"payload": {"protocol": "tcp", "field": "dport"}}
STATE, STATUS = {"ct": {"key": "state"}}, {"ct": {"key": "status"}}
IN: dict[str, object] = {"accept": None}
FLAGS = {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["fin", "syn", "rst", "ack"]]}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param(_nft(), REFUSE, id="everything dropped"),
        pytest.param(_nft(policy="accept"), ACCEPT, id="no rule"),
        pytest.param(_nft([_is(PORT, 8080), IN]), ACCEPT, id="allowed"),
        pytest.param(_nft([_is(PORT, 8081), IN]), REFUSE, id="another port"),
        pytest.param(
            _nft([_is(PORT, {"set": [22, {"range": [8000, 8100]}]}), IN]), ACCEPT, id="a set"
        ),
        pytest.param(_nft([_is(PORT, "@ok"), IN]), ACCEPT, id="a named set"),
        pytest.param(_nft([_is(PORT, "@none"), IN]), DEPENDS, id="a set that is not shown"),
        pytest.param(_nft([_is(PORT, 5, "!="), IN]), ACCEPT, id="all ports but one"),
        pytest.param(_nft([_is({"meta": {"key": "iif"}}, "lo"), IN]), REFUSE, id="loopback"),
        pytest.param(
            _nft([_is({"meta": {"key": "iifname"}}, "eth1"), IN]), DEPENDS, id="one interface"
        ),
        pytest.param(
            _nft([_is(STATE, ["established", "related"], "in"), IN]), REFUSE, id="old ones"
        ),
        pytest.param(_nft([_is(STATE, "new", "in"), _is(PORT, 8080), IN]), ACCEPT, id="new ones"),
        pytest.param(_nft([_is(STATUS, "dnat", "in"), IN]), REFUSE, id="translated ones"),
        pytest.param(_nft([_is({"meta": {"key": "l4proto"}}, "udp"), IN]), REFUSE, id="UDP"),
        pytest.param(
            _nft([_is({"payload": {"protocol": "udp", "field": "dport"}}, 8080), IN]),
            REFUSE,
            id="a UDP port",
        ),
        pytest.param(
            _nft([_is({"payload": {"protocol": "ip", "field": "saddr"}}, "10.0.0.1"), IN]),
            DEPENDS,
            id="one caller",
        ),
        pytest.param(
            _nft([_is({"payload": {"protocol": "ip6", "field": "saddr"}}, "fd00::1"), IN]),
            REFUSE,
            id="the other family",
        ),
        pytest.param(
            _nft([_is({"meta": {"key": "nfproto"}}, "ipv4"), IN]), ACCEPT, id="this family"
        ),
        pytest.param(_nft([_is(FLAGS, "syn"), IN]), ACCEPT, id="first packets"),
        pytest.param(
            _nft([_is({"fib": {"result": "type", "flags": ["daddr"]}}, "local"), IN]),
            ACCEPT,
            id="to this host",
        ),
        pytest.param(_nft([{"limit": {"rate": 5}}, IN]), DEPENDS, id="a limit"),
        pytest.param(
            _nft([{"log": {}}, {"counter": {}}], [_is(PORT, 8080), IN]), ACCEPT, id="a log"
        ),
        pytest.param(
            _nft([{"vmap": {"key": PORT, "data": {"set": [[22, IN], [8080, IN]]}}}]),
            ACCEPT,
            id="a verdict map",
        ),
        pytest.param(
            _nft([{"vmap": {"key": STATE, "data": {"set": [["established", IN]]}}}]),
            REFUSE,
            id="a map of states",
        ),
        pytest.param(_nft([{"vmap": {"key": PORT, "data": "@map"}}]), DEPENDS, id="a named map"),
        pytest.param(
            _nft([{"jump": {"target": "sub"}}], sub=[_is(PORT, 8080), IN]),
            ACCEPT,
            id="another chain",
        ),
        pytest.param(
            _nft([{"goto": {"target": "sub"}}], [IN], sub=[{"return": None}]),
            REFUSE,
            id="a goto does not come back",
        ),
        pytest.param(_nft([{"reject": {}}], policy="accept"), REFUSE, id="a reject"),
        pytest.param(_nft([{"match": {"odd": 1}}, IN]), DEPENDS, id="a form that nobody knows"),
    ],
)
def test_what_nfts_own_filter_does_with_a_new_connection_to_8080(
    filters: list[Filter], expected: Verdict
) -> None:
    assert [one_verdict(each, Probe(8080)) for each in filters] == [expected]


def test_firewalld_lets_in_what_is_translated() -> None:
    filters = _nft([_is(STATUS, "dnat", "in"), IN], [_is(PORT, 8080), IN])
    found = firewall.changed_ports(filters, (8080, 8081), 15006)
    assert set(found) == {8081}
    assert "allow tcp port 8081 in the nft table inet guard first" in found[8081]


def test_tables_of_iptables_are_not_read_twice() -> None:
    text = json.dumps(
        {
            "nftables": [
                {
                    "chain": {
                        "family": "ip",
                        "table": "filter",
                        "name": "INPUT",
                        "type": "filter",
                        "hook": "input",
                    }
                },
                {
                    "chain": {
                        "family": "ip",
                        "table": "mine",
                        "name": "forward",
                        "type": "filter",
                        "hook": "forward",
                    }
                },
                {"chain": {"family": "ip", "table": "mine", "name": "helper"}},
            ]
        }
    )
    assert nft_filter.read(text) == []
    assert nft_filter.read("") == []
