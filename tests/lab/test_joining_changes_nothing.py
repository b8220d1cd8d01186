"""Joining changes no answer: who is called by address answers, and DNS says what it said."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostmesh_ctl.demo.consul import DNS_PORT, ConsulServer, Instance
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_ctl.demo.mesh import APP_UID
from hostmesh_ctl.demo.processes import Running
from hostmesh_testing.lab_mesh import WITH_CONSUL, Called, LabMesh, call, start_app
from hostmesh_testing.waiting import wait_until
from hostmesh_testing.wires import RawApp, Wire, connect

WEB = 8080
ENTRY = f"{{name: web, port: {WEB}, protocol: http}}"
SCRAPER = "spiffe://mesh.internal/ns/default/sa/scraper"
UNDECLARED = (22, 9999)
QUESTIONS = (
    "web.service.consul A",
    "web.service.consul AAAA",
    "web.service.consul SRV",
    "_web._tcp.service.consul SRV",
    "canary.web.service.consul SRV",
    "node-10-77-0-3.node.consul A",
    "nobody.service.consul A",
)
FILES = ("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/hostname")
NAMES = ("localhost", "cp1")
UDP_ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", int(sys.argv[1])))
print("serving", flush=True)
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data + b" from " + peer[0].removeprefix("::ffff:").encode(), peer)
"""
UDP_CALL = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
print(s.recvfrom(65536)[0].decode())
"""
ONE_QUERY = bytes.fromhex("cafe01000001000000000000") + b"".join(
    bytes([len(label)]) + label.encode() for label in ("one", "service", "consul")
)
"""A query for one.service.consul of a fixed id, up to the type: one that has an answer, for the SOA
record of an empty one holds the time."""


def _says_who_calls(wire: Wire) -> None:
    wire.send(wire.peer.removeprefix("::ffff:").encode())


class Scraped:
    """Five instances that Consul lists, and a scraper that calls each by its address."""

    def __init__(self, lab: Lab, consul_bin: Path) -> None:
        self.mesh = LabMesh(lab, config=WITH_CONSUL, start=False)
        self.consul = ConsulServer(self.mesh.cp, consul_bin, dns=True)
        self.consul.start()
        self.mesh.control_plane.start()
        self.scraper = self.mesh.host("scraper")
        self.servers = [self.mesh.host(f"web{number}") for number in range(1, 6)]
        self.raw: list[RawApp] = []
        for server in self.servers:
            start_app(server, "http", server.name, WEB)
            self._list(server, tag="canary" if server.name == "web5" else "stable")
        self.consul.register(Instance(service="one", address=self.servers[0].ipv4, port=7001))
        first = self.servers[0]
        for port in UNDECLARED:
            app = RawApp(first, port)
            app.plays(_says_who_calls)
            self.raw.append(app)
        for port in (WEB, 5353):
            self._echo(first, port)
        self.before = self.everything()

    def _list(self, server: Host, *, tag: str) -> None:
        meta = {"protocol": "http"}
        made = Instance(service="web", address=server.ipv4, port=WEB, meta=meta, tags=[tag])
        self.consul.register(made)

    @staticmethod
    def _echo(host: Host, port: int) -> Running:
        running = host.spawn(f"udp{port}", [sys.executable, "-c", UDP_ECHO, str(port)], uid=APP_UID)
        wait_until(lambda: "serving" in running.said())
        return running

    def scrape(self, server: Host, *, ipv6: bool = False) -> Called:
        """Call one instance by its address, with a Host that names another."""
        address = server.ipv6 if ipv6 else server.ipv4
        return call(self.scraper, "web2.elsewhere.example", WEB, address=address)

    def everything(self) -> dict[str, object]:
        """Give every answer that must not change."""
        return self._answers() | self._dns() | self._local() | self._beside()

    def _answers(self) -> dict[str, object]:
        return {
            f"{server.name} {ipv6}": self.scrape(server, ipv6=ipv6).said["server"]
            for server in self.servers
            for ipv6 in (False, True)
        }

    def _dns(self) -> dict[str, object]:
        found: dict[str, object] = {
            f"{question} {how}": self._dig(question, how)
            for question in QUESTIONS
            for how in ("+notcp", "+tcp")
        }
        return found | {f"the bytes of {kind}": self._query(kind) for kind in (1, 33)}

    def _local(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for host in (self.scraper, *self.servers):
            for path in FILES:
                file = host.path(path)
                found[f"{host.name} {path}"] = file.read_bytes() if file.exists() else None
            for name in NAMES:
                asked = host.run(["getent", "ahosts", name], check=False)
                found[f"{host.name} {name}"] = asked.stdout
        return found

    def _beside(self) -> dict[str, object]:
        """Give what is not the mesh's: other ports, UDP, ICMP, between the scraper and web1."""
        first = self.servers[0]
        found: dict[str, object] = {}
        for address in (first.ipv4, first.ipv6):
            for port in UNDECLARED:
                wire = connect(self.scraper, address, port)
                found[f"{address} {port}"] = wire.rest()
                wire.close()
            for port in (WEB, 5353):
                words = [sys.executable, "-c", UDP_CALL, address, str(port)]
                found[f"{address} udp {port}"] = self.scraper.run(words, uid=APP_UID).stdout
            ping = ["ping", "-c", "1", "-W", "2", address]
            found[f"{address} icmp"] = self.scraper.run(ping, check=False).returncode
        return found

    def _dig(self, question: str, how: str) -> list[str]:
        words = ["dig", f"@{self.mesh.cp.ipv4}", "-p", str(DNS_PORT), *question.split(), how]
        words += ["+noall", "+comments", "+answer", "+additional", "+tries=1", "+time=5"]
        lines = self.scraper.run(words, uid=APP_UID).stdout.splitlines()
        # Consul shuffles what it lists; an id is new each time.
        return sorted(line.split(", id:")[0] for line in lines)

    def _query(self, kind: int) -> str:
        asked = ONE_QUERY + bytes([0, 0, kind, 0, 1])
        code = (
            "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
            "s.settimeout(5); s.sendto(bytes.fromhex(sys.argv[2]), (sys.argv[1], 8600)); "
            "print(s.recv(4096).hex())"
        )
        words = [sys.executable, "-c", code, self.mesh.cp.ipv4, asked.hex()]
        return self.scraper.run(words, uid=APP_UID).stdout


@pytest.fixture(scope="module")
def scraped(consul_bin: Path) -> Iterator[Scraped]:
    with Lab(exposed=[consul_bin]) as lab:
        yield Scraped(lab, consul_bin)


def test_each_step_of_joining_leaves_every_answer_as_it_was(scraped: Scraped) -> None:
    words = ["--service-account", "scraper"]
    scraped.mesh.join(scraped.scraper, token=words)
    assert scraped.everything() == scraped.before
    joined: list[Host] = []
    for count, server in enumerate(scraped.servers, start=1):
        scraped.mesh.join(server, [ENTRY])
        scraped.mesh.wait_meshed("web", count)
        joined.append(server)
        wait_until(lambda: all(scraped.scrape(each).caller == SCRAPER for each in joined))
        for each in scraped.servers:
            called = scraped.scrape(each)
            assert called.said["server"] == each.name
            assert called.caller == (SCRAPER if each in joined else "")
    assert scraped.everything() == scraped.before
