"""What Consul has forgotten by mistake goes on serving; what truly died gets no request."""

import signal
import time
from pathlib import Path

from hostmesh_ctl.demo.consul import ConsulServer, Instance
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.mesh import Agent, wait_for
from hostmesh_ctl.demo.traffic import App
from hostmesh_testing.lab_mesh import WITH_CONSUL, LabMesh
from hostmesh_testing.loaded import Loaded, told

SERVICE_PORT = 9080
PORTS = range(9101, 9119)
FORGOTTEN = 10
DEAD = 5
DIES_SECONDS = 10.0
"""After this long what truly died gets no request any more."""
WATCHED_SECONDS = 6.0


def _listed(app: App) -> Instance:
    """An instance with a port of its own, behind one port of the service."""
    meta = {"protocol": "http", "service_port": str(SERVICE_PORT)}
    return Instance(service="web", address=app.host.ipv4, port=app.port, meta=meta)


def _failures(agent: Agent) -> int:
    """How often the client's Envoy could not connect to an instance of web."""
    pattern = r"^cluster\.outbound.*web\..*upstream_cx_connect_(fail|timeout)$"
    return sum(agent.stats(pattern).values())


def test_the_dead_of_a_held_view_get_no_request_and_the_living_do(
    lab: Lab, consul_bin: Path
) -> None:
    mesh = LabMesh(lab, config=WITH_CONSUL, start=False)
    consul = ConsulServer(mesh.cp, consul_bin)
    consul.start()
    servers = mesh.host("servers")
    apps = [App(servers, f"web-{port}", port) for port in PORTS]
    for app in apps:
        app.start()
        consul.register(_listed(app))
    mesh.control_plane.start()
    wait_for("all of them", lambda: len(mesh.control_plane.endpoints("web")) == len(PORTS))
    client = mesh.join(mesh.host("client"))
    load = Loaded(client.host, "web", SERVICE_PORT, apps)

    for app in apps[:FORGOTTEN]:
        consul.deregister(_listed(app))
    status = mesh.control_plane.rows
    wait_for("a held source", lambda: "holding" in str(status("sources")))
    for app in apps[:DEAD]:
        app.process.signal(signal.SIGKILL)
    time.sleep(DIES_SECONDS)

    before, began = _failures(client), time.monotonic()
    time.sleep(WATCHED_SECONDS)
    assert _failures(client) == before
    recent = load.records(since=began)
    assert told([record for record in recent if record.error]) == []
    dead = {app.name for app in apps[:DEAD]}
    answered = {record.server for record in recent}
    assert not answered & dead
    # Consul forgot these too, but they live: a held view exists for them.
    assert answered & {app.name for app in apps[DEAD:FORGOTTEN]}
    load.account()
