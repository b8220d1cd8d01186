"""Where the host's own firewall and capture meet: what changes for a peer, and that it is said.

A REDIRECT happens before the filter sees the packet, so the filter would decide about the inbound
port: a port whose fate that would change stays as it was, and it is said what would allow it.
"""

from dataclasses import replace
from itertools import product

import pytest

from hostmesh_core.capture_plan import InboundPort, OnDown
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_testing.capture_host import PLAN, CaptureHost

OPEN, CLOSED, INBOUND = 8080, 8081, 15006
ALLOW_LIST = (
    "*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n"
    "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
    "-A INPUT -p tcp --dport 8080 -j ACCEPT\nCOMMIT\n"
)
NATIVE = (
    "table inet guard {\n chain input {\n type filter hook input priority 10; policy drop;\n"
    " iif lo accept\n ct state established,related accept\n meta l4proto ipv6-icmp accept\n"
    " EXTRA\n tcp dport 8080 accept\n }\n}\n"
)
FIREWALLS = {
    "no firewall": "",
    "an allow-list in iptables": ALLOW_LIST,
    "an allow-list in nft": NATIVE.replace("EXTRA", ""),
    "firewalld's allow-list": NATIVE.replace("EXTRA", "ct status dnat accept"),
}
EXPECTED = {
    # (open port, closed port) as a peer finds them after capture; before: (8080, silence)
    "no firewall": ("15006", "15006"),
    "an allow-list in iptables": ("8080", "timeout"),
    "an allow-list in nft": ("8080", "timeout"),
    "firewalld's allow-list": ("15006", "timeout"),
}


LEFT = {
    "no firewall": [],
    "an allow-list in iptables": [OPEN],  # the closed one stays closed, captured or not
    "an allow-list in nft": [OPEN],
    "firewalld's allow-list": [CLOSED],
}


def _put(host: Host, text: str) -> None:
    if text.startswith("table"):
        host.run(["nft", "-f", "-"], text=text)
    elif text:
        host.run(["iptables-restore", "--noflush"], text=text)
        six = text.replace("COMMIT", "-A INPUT -p ipv6-icmp -j ACCEPT\nCOMMIT")
        host.run(["ip6tables-restore", "--noflush"], text=six)


@pytest.mark.parametrize("name", FIREWALLS)
def test_what_changes_behind_a_firewall_is_said(lab: Lab, name: str) -> None:
    here, peer = CaptureHost(lab.host("here")), CaptureHost(lab.host("peer"))
    here.stand_in()
    here.listen(OPEN, CLOSED, uid=0)
    _put(here.host, FIREWALLS[name])
    addresses = (here.host.ipv4, here.host.ipv6)
    closed_before = "8081" if name == "no firewall" else "timeout"
    for address in addresses:
        assert peer.call(address, OPEN).startswith("8080")
        assert peer.call(address, CLOSED).startswith(closed_before)
    here.apply(replace(PLAN, inbound=(InboundPort(OPEN), InboundPort(CLOSED))))
    for address, (index, port) in product(addresses, enumerate((OPEN, CLOSED))):
        assert peer.call(address, port).startswith(EXPECTED[name][index]), (address, port)
    report = here.report()
    assert report is not None
    notes = " ".join(report.notes)
    said = [port for port in (OPEN, CLOSED) if f"port {port} is declared and not" in notes]
    assert said == LEFT[name]


def test_an_allowed_inbound_port_makes_the_service_reachable_and_the_note_goes(lab: Lab) -> None:
    here, peer = CaptureHost(lab.host("here")), CaptureHost(lab.host("peer"))
    here.stand_in()
    _put(here.host, ALLOW_LIST)
    for program in ("iptables", "ip6tables"):
        rule = ["-I", "INPUT", "-p", "tcp", "--dport", str(INBOUND), "-j", "ACCEPT"]
        here.host.run([program, *rule])
    here.apply(PLAN)
    for address in (here.host.ipv4, here.host.ipv6):
        assert peer.call(address, OPEN) == f"15006 {address} 8080"
    report = here.report()
    assert report is not None
    assert report.notes == ()


def test_closed_keeps_a_port_captured_that_the_firewall_would_shut(lab: Lab) -> None:
    here, peer = CaptureHost(lab.host("here")), CaptureHost(lab.host("peer"))
    here.listen(OPEN, uid=0)
    _put(here.host, ALLOW_LIST)
    here.apply(replace(PLAN, on_down_inbound=OnDown.CLOSED))
    for address in (here.host.ipv4, here.host.ipv6):
        assert peer.call(address, OPEN) == "timeout"  # never in plaintext
    report = here.report()
    assert report is not None
    assert [note[:29] for note in report.notes] == ["port 8080 is captured, but th"]
