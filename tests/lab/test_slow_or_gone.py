"""A starved host is slow, a host that vanished is gone, and clients tell the two apart.

Stopped processes stand for starved ones, so that no core is burnt: the kernel answers for both.
"""

import signal
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hostmesh_core.envoy_silence import SILENT_SECONDS
from hostmesh_ctl.demo import inside, processes
from hostmesh_ctl.demo.account import Cut
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_ctl.demo.mesh import LAYOUT, Agent, wait_for
from hostmesh_ctl.demo.traffic import App
from hostmesh_testing.lab_mesh import LabMesh, call
from hostmesh_testing.loaded import Loaded, told

PORT = 9080
WEB = f"{{name: web, port: {PORT}, protocol: http}}"
CONNECT_SECONDS = 5.0
"""The connect timeout of mesh clusters."""
STARVED_SECONDS = 3.5
"""Longer than any count of quick questions, and than a second try of a short connect timeout."""


class OneServer:
    """A client and the only server of web."""

    def __init__(self, mesh: LabMesh) -> None:
        self.mesh = mesh
        host = mesh.host("web1")
        self.app = App(host, "app-web1", PORT)
        self.app.start()
        self.server = mesh.join(host, [WEB])
        self.client = mesh.join(mesh.host("client"))
        mesh.wait_meshed("web", 1)

    def healthy(self) -> bool:
        rows = self.mesh.control_plane.endpoints("web").values()
        return [(row["meshed"], row["health"]) for row in rows] == [(True, "healthy")]


@pytest.fixture(scope="module")
def web() -> Iterator[OneServer]:
    with Lab() as lab:
        yield OneServer(LabMesh(lab))


@contextmanager
def _stopped(agent: Agent) -> Iterator[None]:
    """Stop Envoy of a host, so that only its kernel answers."""
    pids = agent.envoy_pids()
    assert pids
    for pid in pids:
        processes.send(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            processes.send(pid, signal.SIGCONT)


def _rules(host: Host) -> str:
    rules = host.run(["sh", "-c", "iptables-save -t nat; ip6tables-save -t nat; ip rule"]).stdout
    rules += host.path("/etc/hosts").read_text()
    return "\n".join(line for line in rules.splitlines() if not line.startswith((":", "#")))


def _holds(what: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert what()
        time.sleep(0.1)


@pytest.mark.parametrize("whose", ["web1", "client"])
def test_a_starved_envoy_is_waited_for_and_nothing_is_taken_out(web: OneServer, whose: str) -> None:
    agent = web.mesh.agents[whose]
    before, pids = _rules(agent.host), agent.envoy_pids()
    load = Loaded(web.client.host, "web", PORT, [web.app])
    with _stopped(agent):
        stopped = time.monotonic()
        # New connections to the server, their handshakes with it: nothing is pooled for these.
        _holds(web.healthy, STARVED_SECONDS)
        began = time.monotonic()
    wait_for("answers", lambda: len(load.records(since=began)) > 20)
    _holds(web.healthy, 2.0)
    made = load.account()
    print(f"{made.sent} requests, the longest waited {made.longest_wait:.2f} s")
    assert told(made.failed) == []
    assert made.longest_wait > began - stopped - 1.0
    assert _rules(agent.host) == before
    assert agent.envoy_pids() == pids


def test_an_envoy_that_hangs_for_good_is_found_and_its_rules_are_lifted(web: OneServer) -> None:
    host = web.client.host
    before = _rules(host)
    with _stopped(web.client):
        took = wait_for("rules out", lambda: "HOSTMESH_DEFAULT_OUT" not in _rules(host), seconds=30)
        print(f"on_envoy_down applied {took:.1f} s after Envoy was stopped")
        assert took > SILENT_SECONDS - 2.0
    wait_for("rules in", lambda: _rules(host) == before, seconds=30)
    wait_for("an answer", lambda: call(host, "web", PORT).caller)


def test_peers_are_told_of_an_envoy_that_hangs_for_good(web: OneServer) -> None:
    with _stopped(web.server):
        took = wait_for("the endpoint out", lambda: not web.healthy(), seconds=30)
        print(f"the endpoint was out {took:.1f} s after Envoy was stopped")
        assert took > SILENT_SECONDS - 2.0
    wait_for("the endpoint back", web.healthy, seconds=30)
    wait_for("an answer", lambda: call(web.client.host, "web", PORT).caller)


@pytest.mark.parametrize("count", [1, 2])
def test_hosts_that_vanish_fail_no_request_and_are_not_waited_for(count: int) -> None:
    with Lab() as lab:
        mesh, apps = LabMesh(lab), []
        for number in range(4):
            host = mesh.host(f"web{number}")
            apps.append(App(host, f"app-{host.name}", PORT))
            apps[-1].start()
            mesh.join(host, [WEB])
        client = mesh.join(mesh.host("client"))
        mesh.wait_meshed("web", len(apps))
        load = Loaded(client.host, "web", PORT, apps)
        time.sleep(1.0)
        cuts = []
        for app in apps[:count]:
            at = time.monotonic()
            app.host.cut()
            cuts.append(Cut(server=app.name, at=at, until=time.monotonic()))
        wait_for("them out", lambda: len(_serving(client)) == len(apps) - count, seconds=20)
        made = load.account(cuts)
    print(f"{count} cut: {len(made.in_flight)} POSTs lost, {made.longest_wait:.2f} s at most")
    assert told(made.failed) == []
    assert all(record.method == "POST" for record in made.in_flight)
    # The kernel's word ended the connecting, not the connect timeout.
    assert made.longest_wait < CONNECT_SECONDS


def _serving(client: Agent) -> list[str]:
    flags = client.upstreams("web.default.mesh.internal", PORT).values()
    return [flag for flag in flags if "failed_eds_health" not in flag]


def test_a_peer_that_begins_its_handshake_late_is_no_caller_without_a_mesh(web: OneServer) -> None:
    (folder,) = web.client.host.path(LAYOUT.identity_dir).glob("workloads/**/current")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    address = web.server.host.ipv4
    with inside.connect(web.mesh.cp.holder.pid, address, PORT) as connection:
        time.sleep(STARVED_SECONDS)
        with context.wrap_socket(connection) as speaking:
            speaking.sendall(b"GET /late HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: speaking.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert b"sa/client" in answer, "the app is told who called"
