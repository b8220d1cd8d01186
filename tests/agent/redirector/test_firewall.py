import pytest

from hostmesh_agent.redirector import firewall, saved
from hostmesh_testing import capture_foreign

DENY = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT\nCOMMIT\n"


@pytest.mark.parametrize(
    ("text", "native", "said"),
    [
        pytest.param("", [], 0, id="no firewall"),
        pytest.param("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", [], 0, id="an empty table"),
        pytest.param(DENY, [], 1, id="a list of allowed ports"),
        pytest.param(
            DENY.replace("COMMIT", "-A INPUT -p tcp -m tcp --dport 15006 -j ACCEPT\nCOMMIT"),
            [],
            0,
            id="with the inbound port in it",
        ),
        pytest.param(
            "*filter\n:INPUT ACCEPT [0:0]\n:X - [0:0]\n-A INPUT -j X\n-A X -j REJECT\nCOMMIT\n",
            [],
            1,
            id="a refusal further down",
        ),
        pytest.param(
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n-A FORWARD -j DROP\nCOMMIT\n",
            [],
            0,
            id="only forwarding is filtered",
        ),
        pytest.param(capture_foreign.DOCKER, [], 0, id="Docker"),
        pytest.param("", ["inet firewalld"], 1, id="a table of nft's own"),
    ],
)
def test_where_a_firewall_sees_captured_packets(text: str, native: list[str], said: int) -> None:
    tables = saved.parse_tables(text)
    found = firewall.notes(tables, native, 15006)
    assert len(found) == said
    assert all("allow tcp port 15006 there" in note for note in found)
