import pytest

from hostmesh_agent.redirector import firewall, saved
from hostmesh_agent.redirector.firewall import Probe, Verdict, verdict
from hostmesh_agent.redirector.saved import Table
from hostmesh_testing import capture_foreign

NEW = "-p tcp -m conntrack --ctstate NEW -m tcp --dport"
ESTABLISHED = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


def _table(*lines: str, policy: str = "DROP", chains: tuple[str, ...] = ()) -> Table:
    heads = [f":INPUT {policy} [0:0]", *(f":{chain} - [0:0]" for chain in chains)]
    return saved.parse_tables("\n".join(["*filter", *heads, *lines, "COMMIT"]))["filter"]


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
def test_what_a_filter_does_with_a_new_connection_to_8080(table: Table, expected: Verdict) -> None:
    assert verdict(table, Probe(8080)) is expected


def test_a_translated_packet_is_told_apart() -> None:
    table = _table("-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT")
    assert verdict(table, Probe(15006)) is REFUSE
    assert verdict(table, Probe(15006, translated=True)) is ACCEPT


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
    found = firewall.changed_ports(saved.parse_tables(text), (8080, 9090), 15006)
    assert set(found) == changed
    assert all("allow tcp port " in reason for reason in found.values())


def test_what_cannot_be_told_is_said() -> None:
    some = saved.parse_tables(
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -j ACCEPT\nCOMMIT"
    )
    assert "(iptables INPUT)" in firewall.notes(some, [], 15006)[0]
    assert "(the nft table inet firewalld)" in firewall.notes({}, ["inet firewalld"], 15006)[0]
    assert firewall.notes({}, [], 15006) == []
