"""An Envoy that stands still: for seconds it is slow and waited for, for longer it is hung."""

import signal
import threading
import time

from hostmesh_ctl.demo import processes
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_ctl.demo.mesh import Agent, wait_for
from hostmesh_testing.lab_mesh import Called, LabMesh, call, start_app, virtual_address

PORT = 9080
WEB = f"{{name: web, port: {PORT}, protocol: http}}"
STILL_SECONDS = 4.0
"""As long as an Envoy without a free core may take; more than five connects of 0.5 s."""
CALLS = 8


def _envoy(agent: Agent) -> int:
    (pid,) = agent.envoy_pids()
    return pid


def _captures(host: Host) -> bool:
    return "REDIRECT" in host.run(["iptables-save"]).stdout


def _call_while_still(client: Host, agent: Agent) -> list[Called]:
    """Call over fresh connections while an Envoy stands still; give what came."""
    got: list[Called] = []
    pid = _envoy(agent)
    processes.send(pid, signal.SIGSTOP)
    try:
        calls = [
            threading.Thread(target=lambda: got.append(call(client, "web", PORT, seconds=20.0)))
            for _ in range(CALLS)
        ]
        for each in calls:
            each.start()
        time.sleep(STILL_SECONDS)
        assert got == []
        assert _captures(agent.host)
    finally:
        processes.send(pid, signal.SIGCONT)
    for each in calls:
        each.join()
    return got


def test_an_envoy_that_stands_still_for_seconds_is_waited_for(lab: Lab) -> None:
    mesh = LabMesh(lab)
    server, client = mesh.host("server"), mesh.host("client")
    start_app(server, "http", "web", PORT)
    serving, calling = mesh.join(server, [WEB]), mesh.join(client)
    mesh.wait_meshed("web", 1)
    wait_for("the name", lambda: virtual_address(client, "web", 4))
    for agent in (serving, calling):
        got = _call_while_still(client, agent)
        assert [answer.status for answer in got] == [200] * CALLS, got
        assert "does not serve" not in agent.process.said()
    (row,) = mesh.control_plane.endpoints("web").values()
    assert (row["meshed"], row["health"]) == (True, "healthy")


def test_an_envoy_that_stays_silent_is_down_until_it_answers(lab: Lab) -> None:
    mesh = LabMesh(lab)
    agent = mesh.join(mesh.host("client"))
    wait_for("the rules", lambda: _captures(agent.host))
    pid = _envoy(agent)
    processes.send(pid, signal.SIGSTOP)
    try:
        wait_for("the rules to go", lambda: not _captures(agent.host), seconds=40.0)
        assert "lives, but no worker answers" in agent.process.said()
    finally:
        processes.send(pid, signal.SIGCONT)
    wait_for("the rules", lambda: _captures(agent.host), seconds=30.0)
    assert _envoy(agent) == pid
