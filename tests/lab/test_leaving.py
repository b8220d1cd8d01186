"""A host leaves, or is shut down, while it serves and calls: what its Envoy has begun, it ends."""

import shutil
import signal
import socket
import threading
import time
from pathlib import Path

from hostmesh_agent.redirector import families
from hostmesh_core.host_layout import HostLayout
from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.mesh import wait_for
from hostmesh_ctl.demo.processes import send
from hostmesh_testing.lab_mesh import Called, LabMesh, call, start_app, virtual_address

PORT = 9080
LAYOUT = HostLayout()
WEB = f"{{name: web, port: {PORT}, protocol: http}}"
SLOW_SECONDS = 8.0
"""Longer than the agent takes to see that the workers of a draining Envoy say not ready."""


def _answer(connection: socket.socket) -> bytes:
    """Read one answer with its JSON body."""
    got = b""
    while not got.endswith(b"}"):
        chunk = connection.recv(65536)
        assert chunk, got
        got += chunk
    return got


def test_a_slow_answer_and_an_idle_connection_outlive_the_rules(lab: Lab) -> None:
    mesh = LabMesh(lab)
    server, bare = mesh.host("server"), mesh.host("bare")
    start_app(server, "http", "web", PORT)
    agent = mesh.join(server, [WEB])
    mesh.wait_meshed("web", 1)
    got: list[Called] = []
    with inside.connect(bare.holder.pid, server.ipv4, PORT) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
        assert _answer(idle).startswith(b"HTTP/1.1 200")

        def slow() -> None:
            path = f"/?delay={SLOW_SECONDS:g}"
            got.append(call(bare, "web", PORT, address=server.ipv4, path=path, seconds=30.0))

        waiting = threading.Thread(target=slow)
        waiting.start()
        time.sleep(0.5)
        began = time.monotonic()
        agent.command("leave")
        print(f"left in {time.monotonic() - began:.1f} s")
        waiting.join()
        assert [answer.status for answer in got] == [200]
        idle.settimeout(5.0)
        assert idle.recv(1) == b""  # closed in order: no reset, and not left open
    assert agent.envoy_pids() == []
    assert call(bare, "web", PORT, address=server.ipv4).status == 200


STOPPED_SLOW_SECONDS = 4.0
"""Within what the runner lets Envoy drain for when all of it is ended."""


def test_what_is_under_way_outlives_the_end_of_run_all(lab: Lab) -> None:
    """By a virtual address and inbound: both need rules or routes until Envoy has gone."""
    mesh = LabMesh(lab)
    server, bare, client = mesh.host("server"), mesh.host("bare"), mesh.host("client")
    start_app(server, "http", "web", PORT)
    serving, calling = mesh.join(server, [WEB]), mesh.join(client)
    mesh.wait_meshed("web", 1)
    wait_for("the name", lambda: virtual_address(client, "web", 4))
    got: list[Called] = []
    path = f"/?delay={STOPPED_SLOW_SECONDS:g}"

    def by_mesh() -> None:
        got.append(call(client, "web", PORT, path=path, seconds=30.0))

    def inbound() -> None:
        got.append(call(bare, "web", PORT, address=server.ipv4, path=path, seconds=30.0))

    for agent, slow in ((calling, by_mesh), (serving, inbound)):
        waiting = threading.Thread(target=slow)
        waiting.start()
        time.sleep(0.5)
        assert agent.process.stop(seconds=40.0) == 0
        waiting.join()
        assert agent.envoy_pids() == []
    assert [answer.status for answer in got] == [200, 200]
    assert "HOSTMESH" not in client.run(["iptables-save"]).stdout
    assert call(bare, "web", PORT, address=server.ipv4).status == 200


def test_ports_are_given_back_before_envoy_ends_whatever_the_agent_says(lab: Lab) -> None:
    """Nobody can ask the agent, and its last word is that all is to stay."""
    mesh = LabMesh(lab)
    server, bare = mesh.host("server"), mesh.host("bare")
    start_app(server, "http", "web", PORT)
    agent = mesh.join(server, [WEB])
    mesh.wait_meshed("web", 1)
    server.path(LAYOUT.control_socket).unlink()
    got: list[Called] = []
    path = f"/?delay={STOPPED_SLOW_SECONDS:g}"

    def slow() -> None:
        got.append(call(bare, "web", PORT, address=server.ipv4, path=path, seconds=30.0))

    waiting = threading.Thread(target=slow)
    waiting.start()
    time.sleep(0.5)
    send(agent.process.pid, signal.SIGTERM)
    chain = families.inbound_chain(LAYOUT.instance)
    wait_for("the ports", lambda: chain not in server.run(["iptables-save"]).stdout)
    assert agent.envoy_pids()
    assert call(bare, "web", PORT, address=server.ipv4).status == 200
    waiting.join()
    assert agent.process.stop(seconds=40.0) == 0
    assert [answer.status for answer in got] == [200]
    assert "the agent's drain: cannot" in agent.process.said()


def test_rules_that_stay_are_said_at_the_end_of_run_all(lab: Lab) -> None:
    mesh = LabMesh(lab)
    server, bare = mesh.host("server"), mesh.host("bare")
    start_app(server, "http", "web", PORT)
    agent = mesh.join(server, [WEB])
    mesh.wait_meshed("web", 1)
    tool = str(Path(shutil.which("iptables-restore") or "").resolve())
    server.run(["mount", "--bind", shutil.which("false") or "", tool])
    assert agent.process.stop(seconds=90.0) == 1
    said = agent.process.said()
    assert "cannot take the rules out: cannot run iptables" in said
    assert "this is done: hostmesh-agent redirect remove" in said
    server.run(["umount", tool])
    agent.command("redirect", "remove")
    assert call(bare, "web", PORT, address=server.ipv4).status == 200
