"""A mesh in the lab for tests: a control plane, hosts that join, apps, and calls between them."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_ctl.demo.mesh import APP_UID, Agent, ControlPlane, wait_for
from hostmesh_ctl.demo.processes import Running

CONTROL_PLANE = """\
version: 1
sources:
  - {name: static, kind: static, path: /etc/hostmesh/catalog}
"""
CONSUL_SOURCE = "  - {name: consul, kind: consul, address: 'http://127.0.0.1:8500'}\n"
WITH_CONSUL = CONTROL_PLANE + CONSUL_SOURCE
DOMAIN = "default.mesh.internal"


LIVING: list["LabMesh"] = []
"""Every mesh of the labs that run now, for the look that follows each test."""
WARM_SECONDS = 1.0
"""No cluster or listener may be warming any longer than this after a push."""


class LabMesh:
    """One control plane on host cp1, and agents by host name."""

    def __init__(self, lab: Lab, *, config: str = CONTROL_PLANE, start: bool = True) -> None:
        self.lab = lab
        self.cp = lab.host("cp1")
        self.control_plane = ControlPlane(self.cp, config)
        self.agents: dict[str, Agent] = {}
        LIVING.append(self)
        if start:
            self.control_plane.start()

    def host(self, name: str) -> Host:
        """Make a host that can find the control plane."""
        host = self.lab.host(name)
        host.add_name("cp1", self.cp.ipv4, self.cp.ipv6)
        return host

    def join(
        self,
        host: Host,
        services: Sequence[str] = (),
        *,
        token: Sequence[str] = (),
        extra: str = "",
        wait: bool = True,
    ) -> Agent:
        """Let a host join. `services` are agent.yaml's entries; `token` words default to theirs."""
        agent = Agent(host, agent_yaml(services, extra))
        words = [word for each in services for word in ("--service", _name_of(each))]
        agent.join(self.control_plane.token(*(token or words or ["--service-account", host.name])))
        agent.start()
        self.agents[host.name] = agent
        if wait:
            agent.wait_ready()
        return agent

    def wait_meshed(self, service: str, count: int, *, seconds: float = 20.0) -> None:
        """Wait until that many endpoints of a service are healthy members of the mesh."""

        def enough() -> bool:
            rows = self.control_plane.endpoints(service).values()
            return sum(bool(r["meshed"]) and r["health"] == "healthy" for r in rows) == count

        wait_for(f"{count} meshed endpoints of {service}", enough, seconds=seconds)

    def complaints(self) -> list[str]:
        """Give what no Envoy of the lab may ever show: a rejected update, something that warms."""
        return [line for agent in self.agents.values() for line in _complaints(agent)]


def _complaints(agent: Agent) -> list[str]:
    end = time.monotonic() + WARM_SECONDS
    while True:
        try:
            stats = agent.stats(r"update_rejected$|warming")
        except inside.NoAnswer:
            return []  # its Envoy has been taken away by the test
        found = [f"{agent.host.name}: {name} is {value}" for name, value in stats.items() if value]
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def _name_of(entry: str) -> str:
    return entry.split("name:")[1].split(",")[0].strip()


def agent_yaml(services: Sequence[str], extra: str = "") -> str:
    """Give an agent.yaml."""
    listed = "".join(f"\n  - {entry}" for entry in services) or " []"
    return f"version: 1\ncontrol_planes: [cp1:15012]\nservices:{listed}\n{extra}"


def start_app(host: Host, kind: str, name: str, port: int) -> Running:
    """Start one of the demo's apps (http, echo, greet) and wait until it serves."""
    words = ["hostmesh_ctl.demo.apps", kind, "--name", name, "--port", str(port)]
    return start_module(host, name, words)


def start_module(host: Host, name: str, words: Sequence[str], *, says: str = "serving") -> Running:
    """Start `python -m WORDS` as an ordinary user and wait until it says that it is ready."""
    support = {"PYTHONPATH": ":".join(path for path in sys.path if path.endswith("support"))}
    running = host.spawn(name, [sys.executable, "-m", *words], uid=APP_UID, env=support)
    wait_for(f"{name} on {host.name}", lambda: _says(running, says))
    return running


def _says(app: Running, ready: str) -> bool:
    if not app.alive:
        raise inside.NoAnswer(f"cannot go on: it has ended and said {app.said()[-800:]}")
    return ready in app.said()


def virtual_address(host: Host, name: str, family: int) -> str:
    """Give what a name means on a host. Raises NoAnswer while it means nothing."""
    for line in host.path("/etc/hosts").read_text().splitlines():
        address, *names = line.split("#")[0].split() or [""]
        if name in names and (":" in address) == (family == 6):
            return address
    raise inside.NoAnswer(f"cannot find {name} in IPv{family} in /etc/hosts of {host.name}")


@dataclass(frozen=True, slots=True)
class Called:
    """An answer of the HTTP app."""

    status: int
    said: dict[str, str]
    raw: bytes

    @property
    def caller(self) -> str:
        """Give the SPIFFE id that the app was shown; empty = none."""
        certificate = self.said.get("client_certificate", "")
        return next((p[4:] for p in certificate.split(";") if p.startswith("URI=")), "")


def call(
    host: Host,
    name: str,
    port: int,
    *,
    family: int = 4,
    path: str = "/",
    method: str = "GET",
    version: str = "1.1",
    headers: str = "",
    body: bytes = b"",
    address: str = "",
    seconds: float = 5.0,
) -> Called:
    """Make one HTTP request from a host, by the name's virtual address unless one is given.

    Raises NoAnswer.
    """
    to = address or virtual_address(host, name, family)
    head = f"{method} {path} HTTP/{version}\r\nhost: {name}:{port}\r\nconnection: close\r\n"
    head += f"content-length: {len(body)}\r\n{headers}\r\n"
    raw = b""
    with inside.connect(host.holder.pid, to, port, seconds=seconds) as made:
        try:
            made.sendall(head.encode() + body)
            while chunk := made.recv(65536):
                raw += chunk
        except OSError as error:
            raise inside.NoAnswer(f"cannot read an answer of {name}: {error}") from error
    status = int(raw.split()[1]) if raw.startswith(b"HTTP/1.") else 0
    return Called(status, _json_in(raw), raw)


def _json_in(raw: bytes) -> dict[str, str]:
    start, end = raw.find(b"{"), raw.rfind(b"}")
    try:
        found = json.loads(raw[start : end + 1])
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
