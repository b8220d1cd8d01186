"""What the demo plays on: four hosts, two instances of one service, two catalogs, one client."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from hostmesh_core.errors import HostmeshError
from hostmesh_ctl.demo.account import Incident
from hostmesh_ctl.demo.consul import ConsulServer, Instance
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_ctl.demo.load import Record
from hostmesh_ctl.demo.mesh import Agent, ControlPlane, wait_for
from hostmesh_ctl.demo.progress import Progress
from hostmesh_ctl.demo.traffic import App, LoadClient

SERVICE = "reviews"
FULL_NAME = "reviews.default.mesh.internal"
PORT = 9080
PLAIN_PORT = 9090
RATE = 60.0
"""Requests a second; the promise is at least 50."""
AGENT_YAML = (resources.files("hostmesh_ctl.demo") / "agent.yaml").read_text()
"""The README's, byte for byte."""
CLIENT_YAML = "".join(
    "services: []\n" if line.startswith("services:") else line
    for line in AGENT_YAML.splitlines(keepends=True)
)
# Certificates of 72 s, so that one is renewed before one's eyes; 29 s are left when it is.
CONTROL_PLANE_YAML = """\
version: 1
sources:
  - {name: static, kind: static, path: /etc/hostmesh/catalog}
CONSUL
ca: {leaf_hours: 0.02, outage_hours: 0.005}
"""
CONSUL_SOURCE = "  - {name: consul, kind: consul, address: 'http://127.0.0.1:8500'}"
SERVICE_ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [reviews.default.mesh.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  endpoints: [{{address: {address}}}]
"""


class NotShown(HostmeshError):
    """Something that the demo promises did not happen; the text says what was seen instead."""


@dataclass(kw_only=True)
class Server:
    """A server host: its app, and its agent."""

    app: App
    agent: Agent
    source: str
    """Which catalog lists it."""

    @property
    def host(self) -> Host:
        """Give its host."""
        return self.app.host


@dataclass(kw_only=True)
class Stage:
    """Everything that the steps act on."""

    lab: Lab
    progress: Progress
    control_plane: ControlPlane
    client: Agent
    servers: list[Server]
    plain: App
    consul: ConsulServer | None
    load: LoadClient | None = None
    incidents: list[Incident] = field(default_factory=list)
    retried: int = 0
    """By the client's Envoys that are gone; the living one counts its own."""

    def endpoints(self) -> dict[str, dict[str, object]]:
        """Give the rows of `hostmesh endpoints reviews`."""
        rows = self.control_plane.endpoints(SERVICE)
        return {name: dict(row) for name, row in rows.items()}

    def row(self, server: Server) -> dict[str, object]:
        """Give one server's row; empty = it is not listed."""
        return self.endpoints().get(server.app.endpoint, {})

    def serves(self, server: Server) -> bool:
        """Tell whether peers are sent to this server as a member of the mesh."""
        row = self.row(server)
        return bool(row.get("meshed")) and row.get("health") == "healthy"

    def seen(self, *, seconds: float = 1.5) -> list[Record]:
        """Give the load's requests of the last moments."""
        if self.load is None:
            return []
        return self.load.records(since=time.monotonic() - seconds)

    def answers(self, server: Server) -> bool:
        """Tell whether the load has just been answered by this server."""
        return any(each.server == server.app.name and not each.error for each in self.seen())

    def until(self, what: str, condition: Callable[[], object], *, seconds: float = 20.0) -> float:
        """Wait while the load goes on; give how long. Raises NotInTime."""
        return wait_for(what, condition, seconds=seconds, every=0.1)


def build(lab: Lab, progress: Progress, consul_binary: Path | None) -> Stage:
    """Make the hosts, start apps, catalogs and the control plane. Nobody is in the mesh yet."""
    cp, client, web1, web2 = (lab.host(name) for name in ("cp1", "client", "web1", "web2"))
    for host in (client, web1, web2):
        host.add_name("cp1", cp.ipv4, cp.ipv6)
    listed = "consul" if consul_binary else "static"
    servers = [
        Server(app=App(web1, "reviews-1", PORT), agent=Agent(web1, AGENT_YAML), source="static"),
        Server(app=App(web2, "reviews-2", PORT), agent=Agent(web2, AGENT_YAML), source=listed),
    ]
    config = CONTROL_PLANE_YAML.replace("CONSUL\n", f"{CONSUL_SOURCE}\n" if consul_binary else "")
    stage = Stage(
        lab=lab,
        progress=progress,
        control_plane=ControlPlane(cp, config),
        client=Agent(client, CLIENT_YAML),
        servers=servers,
        plain=App(web2, "ratings-1", PLAIN_PORT),
        consul=ConsulServer(cp, consul_binary) if consul_binary else None,
    )
    for app in (stage.plain, *(server.app for server in servers)):
        app.start()
    _list(stage)
    stage.control_plane.start()
    stage.until("both catalogs", lambda: len(stage.endpoints()) == 2)
    return stage


def _list(stage: Stage) -> None:
    """Let each server be known to its catalog."""
    if stage.consul is not None:
        stage.consul.start()
        stage.consul.register(instance(stage.plain, "ratings"))
    for server in stage.servers:
        list_server(stage, server)


def list_server(stage: Stage, server: Server, *, listed: bool = True) -> None:
    """List a server in its catalog, or take it off."""
    if server.source == "consul" and stage.consul is not None:
        change = stage.consul.register if listed else stage.consul.deregister
        change(instance(server.app, SERVICE))
        return
    entry = SERVICE_ENTRY.format(name=server.app.name, address=server.host.ipv4)
    stage.control_plane.catalog(f"{server.app.name}.yaml", entry if listed else "")


def instance(app: App, service: str) -> Instance:
    """Give an app as Consul lists it."""
    meta = {"protocol": "http"}
    return Instance(service=service, address=app.host.ipv4, port=app.port, meta=meta)
