"""A full /run: nothing can be asked of the redirector for a while, and nothing ends of it."""

from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.mesh import Agent, wait_for
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
