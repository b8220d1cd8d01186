"""A host without capture: served by mesh_port, calls through upstreams, both by mutual TLS."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hostmesh_core.host_layout import HostLayout
from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Lab, program
from hostmesh_ctl.demo.mesh import AGENT_UID, APP_UID, ENVOY_UID, Agent, wait_for
from hostmesh_testing.lab_mesh import LabMesh, agent_yaml, call, start_app

BOTH = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
OWN = "spiffe://mesh.internal/ns/default/sa/"
EXPLICIT = """\
capture: {enabled: false}
dns: 'off'
upstreams:
  - {service: reviews, port: 9080, listen: '127.0.0.1:19080'}
  - {service: reviews, port: 9080, listen: '[::1]:19080'}
  - {service: echo.default.mesh.internal, port: 9090, listen: '127.0.0.1:19090'}
  - {service: echo.default.mesh.internal, port: 9090, listen: '[::1]:19090'}
  - {service: later, port: 9070, listen: '127.0.0.1:19070'}
"""
OTHER_INSTANCE = """\
ports: {outbound: 16001, inbound: 16006, status: 16020, readiness: 16021, prometheus: 16090}
"""


class Explicit:
    """Host `server` with capture, host `bare` without and on ports of its own."""

    def __init__(self, mesh: LabMesh) -> None:
        self.mesh = mesh
        server = mesh.host("server")
        start_app(server, "http", "reviews", 9080)
        start_app(server, "echo", "echo", 9090)
        entries = [
            "{name: reviews, port: 9080, protocol: http, inbound: strict}",
            "{name: echo, port: 9090, protocol: tcp, inbound: strict}",
        ]
        words = ["--service", "reviews", "--service", "echo", "--service", "later"]
        self.token = ["--service-account", "server", *words]
        self.server = mesh.join(server, entries, token=self.token)
        bare = mesh.host("bare")
        start_app(bare, "http", "web", 8080)
        web = "{name: web, port: 8080, protocol: http, inbound: strict, mesh_port: 18080}"
        self.bare = mesh.join(bare, [web], extra=EXPLICIT + OTHER_INSTANCE)
        for name in ("reviews", "echo", "web"):
            mesh.wait_meshed(name, 1)


@pytest.fixture(scope="module")
def explicit() -> Iterator[Explicit]:
    with Lab() as lab:
        yield Explicit(LabMesh(lab))


def test_no_rule_and_no_name_is_on_that_host(explicit: Explicit) -> None:
    host = explicit.bare.host
    assert "HOSTMESH" not in host.run(["iptables-save"]).stdout.upper()
    assert "mesh.internal" not in host.path("/etc/hosts").read_text()
    assert "::6" not in host.run(["ip", "-6", "address", "show", "dev", "lo"]).stdout


@BOTH
def test_it_calls_a_service_through_an_upstream(explicit: Explicit, family: int) -> None:
    answer = call(explicit.bare.host, "any-name", 19080, address=LOOPBACK[family])
    assert (answer.status, answer.said["server"], answer.caller) == (200, "reviews", f"{OWN}web")


@BOTH
def test_it_calls_a_tcp_service_through_an_upstream(explicit: Explicit, family: int) -> None:
    with inside.connect(explicit.bare.host.holder.pid, LOOPBACK[family], 19090) as made:
        made.sendall(b"hello")
        assert made.recv(64) == b"hello"


@BOTH
def test_it_is_called_by_its_mesh_port(explicit: Explicit, family: int) -> None:
    host = explicit.server.host
    wait_for("an answer of web", lambda: call(host, "web", 8080).status == 200)
    answer = call(host, "web", 8080, family=family)
    assert (answer.status, answer.said["server"], answer.caller) == (200, "web", f"{OWN}server")


def test_its_envoy_is_on_the_ports_of_its_instance(explicit: Explicit) -> None:
    bound = explicit.bare.admin("/listeners")
    assert ":16001" in bound
    assert ":16006" in bound
    assert ":150" not in bound
    assert ":151" not in bound


def test_an_upstream_opens_when_its_service_appears(explicit: Explicit) -> None:
    assert "no service later.default.mesh.internal" in warnings_of(explicit.bare)
    with pytest.raises(inside.NoAnswer):
        call(explicit.bare.host, "later", 19070, address="127.0.0.1")
    explicit.mesh.control_plane.catalog("later.yaml", LATER)
    bare = explicit.bare
    wait_for(
        "the upstream",
        lambda: call(bare.host, "later", 19070, address="127.0.0.1").status,
    )
    wait_for("no word about it", lambda: "later" not in warnings_of(bare))


def test_an_ordinary_user_runs_everything_and_is_in_the_mesh(explicit: Explicit) -> None:
    """One uid, no root, no capability: joins, serves by its mesh_port, calls by its upstream."""
    mesh = explicit.mesh
    host = mesh.host("user")
    start_app(host, "http", "mine", 8080)
    mine = "{name: mine, port: 8080, protocol: http, inbound: strict, mesh_port: 18080}"
    agent = Agent(host, agent_yaml([mine], EXPLICIT))
    for folder in ("/var/lib/hostmesh", "/run/hostmesh", "/run/mine"):
        host.run(["install", "-d", "-o", str(APP_UID), "-g", str(APP_UID), folder])
    token = mesh.control_plane.token("--service", "mine")
    host.write("/run/mine/join.token", token + "\n", mode=0o600)
    host.run(["chown", str(APP_UID), "/run/mine/join.token"])
    words = ["join", "--enrol-only", "--token-file", "/run/mine/join.token"]
    host.run([program("hostmesh-agent"), *words], uid=APP_UID)
    parent = host.spawn("agent", [program("hostmesh-agent"), "run", "--all"], uid=APP_UID)
    mesh.wait_meshed("mine", 1)
    assert "weaker in three ways" in parent.said()
    answer = call(host, "any-name", 19080, address="::1")
    assert (answer.status, answer.said["server"], answer.caller) == (200, "reviews", f"{OWN}mine")
    caller = explicit.server.host
    wait_for("an answer of mine", lambda: call(caller, "mine", 8080).status == 200)
    for family in (4, 6):
        answer = call(caller, "mine", 8080, family=family)
        assert (answer.said["server"], answer.caller) == ("mine", f"{OWN}server")
    uids = {Path(f"/proc/{pid}").stat().st_uid for pid in agent.envoy_pids()}
    assert uids == {APP_UID}


def test_a_restart_of_the_control_plane_closes_no_upstream(explicit: Explicit) -> None:
    """It renders for a host before that host has spoken again."""
    plane, host = explicit.mesh.control_plane, explicit.bare.host
    before = explicit.bare.stats("listener_manager.listener_(removed|modified|added)")
    assert before["listener_manager.listener_added"] > 5
    plane.stop()
    plane.start()
    wait_for("the agent", lambda: explicit.bare.status().get("connected"))
    explicit.mesh.wait_meshed("web", 1)
    assert call(host, "any-name", 19080, address="127.0.0.1").status == 200
    assert explicit.bare.stats("listener_manager.listener_(removed|modified|added)") == before


def test_a_second_instance_lives_beside_a_captured_one(explicit: Explicit) -> None:
    """Two Envoys, two identities, one host: each calls the other's service by mutual TLS."""
    mesh, first = explicit.mesh, explicit.server
    host, layout = first.host, HostLayout("gw")
    start_app(host, "http", "edge", 8090)
    edge = "{name: edge, port: 8090, protocol: http, inbound: strict, mesh_port: 18090}"
    host.path(layout.config_file).parent.mkdir(parents=True, exist_ok=True)
    own = "instance: gw\n" + EXPLICIT + OTHER_INSTANCE
    host.write(layout.config_file, agent_yaml([edge], own))
    host.write("/root/gw.token", mesh.control_plane.token("--service", "edge"), mode=0o600)
    users = ["--agent-user", str(AGENT_UID), "--envoy-user", str(ENVOY_UID)]
    first.command(
        "join", "--enrol-only", "--instance", "gw", "--token-file", "/root/gw.token", *users
    )
    host.spawn("gw", [program("hostmesh-agent"), "run", "--all", "--instance", "gw", *users])
    mesh.wait_meshed("edge", 1)
    answer = call(host, "any-name", 19080, address="127.0.0.1")
    assert (answer.said["server"], answer.caller) == ("reviews", f"{OWN}edge")
    wait_for("an answer of edge", lambda: call(host, "edge", 8090).status == 200)
    answer = call(host, "edge", 8090)
    assert (answer.said["server"], answer.caller) == ("edge", f"{OWN}server")
    assert len(first.envoy_pids()) == 2


def warnings_of(agent: Agent) -> str:
    return str(agent.status().get("warnings"))


LATER = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: later, namespace: default}
spec:
  hosts: [later.default.mesh.internal]
  resolution: STATIC
  ports: [{number: 9070, name: http, protocol: HTTP}]
  endpoints: [{address: 10.77.0.1}]
"""
