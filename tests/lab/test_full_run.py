"""A full /run: nothing can be asked of the redirector for a while, and nothing ends of it."""

import pytest

from hostmesh_ctl.demo.hosts import Host, Lab, program
from hostmesh_ctl.demo.mesh import Agent, wait_for
from hostmesh_testing import host_snapshot
from hostmesh_testing.lab_mesh import LabMesh, call, start_app

FILL = "mount -o remount,size=4m /run && { head -c 5000000 /dev/zero >/run/filler || true; }"


def warnings_of(agent: Agent) -> str:
    return str(agent.status().get("warnings"))


def test_a_full_run_ends_no_agent_and_is_made_up_for_when_there_is_room(lab: Lab) -> None:
    mesh = LabMesh(lab)
    servers = [mesh.host("one"), mesh.host("two")]
    for server in servers:
        start_app(server, "http", server.name, 9080)
    mesh.join(servers[0], ["{name: one, port: 9080, protocol: http}"])
    client = mesh.join(mesh.host("client"))
    wait_for("an answer of one", lambda: call(client.host, "one", 9080).status == 200)
    pid = client.agent_pid()
    client.host.run(["sh", "-c", FILL])
    mesh.join(servers[1], ["{name: two, port: 9080, protocol: http}"])
    mesh.wait_meshed("two", 1)
    wait_for("its word", lambda: "cannot write /run/hostmesh" in warnings_of(client))
    assert "the rules stay as they are" in warnings_of(client)
    assert call(client.host, "one", 9080).caller.endswith("/client")
    assert client.agent_pid() == pid
    client.host.run(["rm", "/run/filler"])
    wait_for("the name of two", lambda: call(client.host, "two", 9080).status == 200)
    wait_for("no word about it", lambda: "cannot write" not in warnings_of(client))
    assert client.agent_pid() == pid


def _run(host: Host, *words: str) -> tuple[int, str]:
    done = host.run([program("hostmesh-agent"), *words], check=False, timeout=150)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


FULL_OF_FILES = (
    "mount -o remount,nr_inodes=$(($(df --output=iused /run | tail -n 1))) /run; "
    "! touch /run/one-more"
)


@pytest.mark.parametrize("fill", [FILL, FULL_OF_FILES], ids=["bytes", "files"])
@pytest.mark.parametrize("runs", [True, False], ids=["running", "killed"])
def test_a_full_run_bars_no_way_out(lab: Lab, fill: str, *, runs: bool) -> None:
    mesh = LabMesh(lab)
    host = mesh.host("leaver")
    start_app(host, "http", "leaver", 9080)
    host_snapshot.settle(host)
    before = host_snapshot.take(host)
    agent = mesh.join(host, ["{name: leaver, port: 9080, protocol: http}"])
    mesh.wait_meshed("leaver", 1)
    host.run(["sh", "-c", fill])
    if not runs:
        agent.kill(agent.pid("hostmesh_agent.main", "run", "--all"))
        agent.kill(agent.agent_pid())
    status, said = _run(host, "reload")
    assert (status, "reload" in said or "cannot" in said) == (1, True), said
    status, said = _run(host, "redirect", "remove")
    assert (status, "removed: no rule is installed" in said) == (3, True), said
    status, said = _run(host, "leave")
    assert status == 0, said
    found = host_snapshot.differences(before, host_snapshot.take(host))
    assert set(found) <= {"files", "contents"}, found  # agent.yaml, and what filled /run
    folders = [host.path(each) for each in ("/run/hostmesh", "/var/lib/hostmesh")]
    left = [[each, *each.rglob("*")] for each in folders if each.exists()]
    assert left == [], said
