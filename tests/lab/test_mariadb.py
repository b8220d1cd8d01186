"""A real MariaDB with grants by host joins, by each way that docs/join.md gives for it."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Lab, program
from hostmesh_ctl.demo.mesh import AGENT_UID, ENVOY_UID
from hostmesh_testing import mariadb
from hostmesh_testing.lab_mesh import LabMesh, agent_yaml, start_app

GRANT = "10.77.0.%"
MESH_PORT = 13306
BY_MESH_PORT = f"{{name: one, port: {mariadb.PORT}, protocol: tcp, mesh_port: {MESH_PORT}}}"
STRICT = f"{{name: two, port: {mariadb.PORT}, protocol: tcp, server_first: true, inbound: strict}}"
BLOB = 8_000_000


class Databases:
    """Database `one` joins by a mesh_port, `two` strict; a client with a mesh, a caller without."""

    def __init__(self, mesh: LabMesh, stack: ExitStack) -> None:
        self.mesh = mesh
        self.one, self.two = mesh.host("one"), mesh.host("two")
        client, self.caller = mesh.host("client"), mesh.host("caller")
        for host, grants in ((self.one, [GRANT]), (self.two, [GRANT, "127.0.0.6"])):
            stack.enter_context(mariadb.serving(host, *grants))
            mesh.control_plane.catalog(f"{host.name}.yaml", mariadb.entry(host.name, host.ipv4))
        for host in (client, self.caller):
            mariadb.may_connect(host)
        self.greeted_before = mariadb.greeting_seconds(self.caller, self.one.ipv4)
        self.seen_before = mariadb.seen_from(self.caller, self.one.ipv4)
        self.refusal = self._refusal()
        self.client = mesh.join(client)
        start_app(self.one, "greet", "greet", 7025)
        greet = f"{{name: greet, port: 7025, listen: '{self.one.ipv4}:7025', protocol: tcp, "
        greet += "server_first: true, inbound: strict}"
        self.agents = {
            "one": mesh.join(self.one, [BY_MESH_PORT, greet]),
            "two": mesh.join(self.two, [STRICT]),
        }
        for name in ("one", "two", "greet"):
            mesh.wait_meshed(name, 1)

    def _refusal(self) -> str:
        """Give what `join` says where the port is declared and nothing else."""
        entry = f"{{name: one, port: {mariadb.PORT}, protocol: tcp}}"
        self.one.write("/etc/hostmesh/agent.yaml", agent_yaml([entry]))
        self.one.write("/root/token", self.mesh.control_plane.token("--service", "one"), mode=0o600)
        users = ["--agent-user", str(AGENT_UID), "--envoy-user", str(ENVOY_UID)]
        words = [program("hostmesh-agent"), "join", "--token-file", "/root/token", *users]
        done = self.one.run(words, check=False, timeout=60)
        assert done.returncode == 2
        return done.stdout + done.stderr

    def handshakes(self, name: str) -> int:
        """Give how many connections came in by mutual TLS."""
        stats = self.agents[name].stats(r"^listener\..*_(15006|13306)\.ssl\.handshake$")
        return sum(stats.values())


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    with Lab() as lab, ExitStack() as stack:
        yield Databases(LabMesh(lab), stack)


def test_join_refuses_it_undeclared_and_names_the_cure(databases: Databases) -> None:
    assert "speaks first" in databases.refusal
    assert f"mesh_port: {MESH_PORT}" in databases.refusal


def test_with_a_mesh_port_a_caller_without_a_mesh_notices_nothing(databases: Databases) -> None:
    caller, address = databases.caller, databases.one.ipv4
    assert databases.seen_before == f"{caller.ipv4}\tapp@{GRANT}"
    assert mariadb.seen_from(caller, address) == databases.seen_before
    longer = mariadb.greeting_seconds(caller, address) - databases.greeted_before
    assert longer < 0.1


@pytest.mark.parametrize("by", ["name", "address"])
def test_with_a_mesh_port_the_mesh_comes_by_mutual_tls(databases: Databases, by: str) -> None:
    """The database sees its own host, which a grant by network lets in."""
    before = databases.handshakes("one")
    name, port = ("one", mariadb.PORT) if by == "name" else (databases.one.ipv4, MESH_PORT)
    seen = mariadb.seen_from(databases.client.host, name, port=port)
    assert seen == f"{databases.one.ipv4}\tapp@{GRANT}"
    assert databases.handshakes("one") == before + 1


def test_with_a_mesh_port_the_apps_own_address_is_what_it_was(databases: Databases) -> None:
    before, client = databases.handshakes("one"), databases.client.host
    assert mariadb.seen_from(client, databases.one.ipv4) == f"{client.ipv4}\tapp@{GRANT}"
    assert databases.handshakes("one") == before


@pytest.mark.parametrize("by", ["name", "address"])
def test_strict_takes_the_mesh_alone_by_either(databases: Databases, by: str) -> None:
    before = databases.handshakes("two")
    name = "two" if by == "name" else databases.two.ipv4
    assert mariadb.seen_from(databases.client.host, name) == "127.0.0.6\tapp@127.0.0.6"
    assert databases.handshakes("two") == before + 1


def test_strict_lets_nobody_else_in_and_keeps_nobody_waiting_for_ever(databases: Databases) -> None:
    made = inside.connect(databases.caller.holder.pid, databases.two.ipv4, mariadb.PORT, seconds=30)
    with made:
        assert made.recv(4096) == b""


@pytest.mark.parametrize("name", ["one", "two"])
def test_large_values_pass_both_sidecars_both_ways(databases: Databases, name: str) -> None:
    client = databases.client.host
    insert = f"INSERT INTO t VALUES ('{'x' * BLOB}'); SELECT LENGTH(b), MD5(b) FROM t"
    size, digest = mariadb.ask(client, name, insert).split()
    assert int(size) == BLOB
    assert len(mariadb.ask(client, name, "SELECT b FROM t")) == BLOB
    assert len(digest) == 32


def test_a_statement_that_is_silent_for_long_is_waited_for(databases: Databases) -> None:
    assert mariadb.ask(databases.client.host, "two", "SELECT SLEEP(12), 'done'") == "0\tdone"


def test_an_app_on_the_hosts_own_address_is_not_called_in_a_circle(databases: Databases) -> None:
    agent = databases.agents["one"]
    connections = "cluster.inbound|7025||.upstream_cx_total"
    before = agent.stats("inbound.7025.*upstream_cx_total$").get(connections, 0)
    assert _greeting(databases) == b"220 greet speaks first\r\n"
    assert agent.stats("inbound.7025.*upstream_cx_total$")[connections] == before + 1


def _greeting(databases: Databases) -> bytes:
    with inside.connect(databases.client.host.holder.pid, databases.one.ipv4, 7025) as made:
        return made.recv(99)
