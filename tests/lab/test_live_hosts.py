"""Joining a host that carries traffic: what is open goes on, what is new is in the mesh."""

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.traffic import App
from hostmesh_testing.lab_mesh import LabMesh, call, start_app
from hostmesh_testing.loaded import Loaded, told

ECHO = "{name: echo, port: 7000, protocol: tcp}"
ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web, namespace: default}}
spec:
  hosts: [web.default.mesh.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  endpoints: [{{address: {0}}}, {{address: {1}}}]
"""


def test_connections_open_before_both_ends_join_go_on(lab: Lab) -> None:
    mesh = LabMesh(lab)
    server, caller = mesh.host("server"), mesh.host("client")
    start_app(server, "echo", "echo", 7000)
    with (
        inside.connect(caller.holder.pid, server.ipv4, 7000) as over4,
        inside.connect(caller.holder.pid, server.ipv6, 7000) as over6,
    ):
        mesh.join(server, [ECHO])
        mesh.join(caller)
        mesh.wait_meshed("echo", 1)
        for made in (over4, over6):
            made.sendall(b"still here")
            assert made.recv(99) == b"still here"


def test_a_loaded_service_joins_host_by_host_without_a_failed_request(lab: Lab) -> None:
    mesh = LabMesh(lab)
    hosts = [mesh.host("web1"), mesh.host("web2")]
    apps = [App(host, f"app-{host.name}", 9080) for host in hosts]
    for app in apps:
        app.start()
    mesh.control_plane.catalog("web.yaml", ENTRY.format(*(host.ipv4 for host in hosts)))
    client = mesh.join(mesh.host("client"))
    load = Loaded(client.host, "web", 9080, apps)
    for number, host in enumerate(hosts):
        mesh.join(host, ["{name: web, port: 9080, protocol: http}"])
        mesh.wait_meshed("web", number + 1)
    mesh.control_plane.command("service", "require-mesh", "web")
    assert call(client.host, "web", 9080).caller.endswith("/sa/client")
    made = load.account()
    assert told(made.failed) == []
    assert set(made.by_server) == {"app-web1", "app-web2"}
