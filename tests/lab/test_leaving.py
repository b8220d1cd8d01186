"""A host leaves while it serves: what still runs through its Envoy ends as it would have."""

import socket
import threading
import time

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_testing.lab_mesh import Called, LabMesh, call, start_app

PORT = 9080
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
