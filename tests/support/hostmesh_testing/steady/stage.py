"""Five instances that Consul lists, three clients that load them, and what each step does."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hostmesh_ctl.demo.consul import DNS_PORT, ConsulServer, Instance
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_ctl.demo.load import Record
from hostmesh_ctl.demo.mesh import Agent, NotInTime, wait_for
from hostmesh_ctl.demo.processes import Running
from hostmesh_ctl.demo.traffic import lines_of, own_file
from hostmesh_testing.lab_mesh import WITH_CONSUL, LabMesh, start_module, virtual_address

SERVICE, PORT = "web", 9080
ENTRY = f"{{name: {SERVICE}, port: {PORT}, protocol: http}}"
DNS_NAME = f"{SERVICE}.service.consul"
ONE_WORKER = "envoy: {concurrency: 1}\n"
"""Seven Envoys share the machine with their apps and clients: more threads would only queue."""
RATE = 200.0
NUMBERS = 10_000_000
"""Request numbers of one client; another's begin after them."""
PLAINTEXT_STARTS = (0x47455420, 0x504F5354)
"""`GET ` and `POST` as a packet's first four bytes."""


@dataclass(kw_only=True)
class Server:
    """One instance: its host, its app, its agent once it has joined."""

    name: str
    host: Host
    log: Path
    app: Running | None = None
    agent: Agent | None = None

    @property
    def instance(self) -> Instance:
        """Give it as Consul lists it."""
        meta = {"protocol": "http"}
        return Instance(service=SERVICE, address=self.host.ipv4, port=PORT, meta=meta)

    @property
    def endpoint(self) -> str:
        """Give `address:port`."""
        return f"{self.host.ipv4}:{PORT}"

    def start(self) -> None:
        """Start the app, and wait until it serves."""
        words = ["hostmesh_testing.steady.app", "--name", self.name]
        words += ["--port", str(PORT), "--log", str(self.log)]
        self.app = start_module(self.host, f"app-{time.monotonic_ns()}", words)


class Client:
    """One load client and its records so far."""

    def __init__(self, host: Host, number: int, *, name: str, dns: str = "") -> None:
        self.host = host
        self.out = own_file(host.folder / "steady.requests")
        self._taken = 0
        self._records: list[Record] = []
        words = ["hostmesh_testing.steady.load", "--who", host.name, "--host", name]
        words += ["--port", str(PORT), "--out", str(self.out), "--rate", str(RATE)]
        words += ["--first", str(number * NUMBERS), *(["--dns", dns] if dns else [])]
        self._process = start_module(host, "load", words, says="loading")

    def records(self, *, since: float = 0.0) -> list[Record]:
        """Give the requests that began after `since` and have ended."""
        with self.out.open("rb") as file:
            file.seek(self._taken)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._taken += len(whole)
        self._records += parsed(whole)
        return [record for record in self._records if record.start >= since]

    def stop(self) -> list[Record]:
        """Send no more, wait for what is under way, give all records. Raises NotInTime."""
        if self._process.stop(seconds=15.0) != 0:
            raise NotInTime(f"cannot end the load in order: {self._process.said()[-1500:]}")
        return self.records()


def parsed(lines: bytes) -> list[Record]:
    """Read records from JSON lines."""
    return [Record(**json.loads(line)) for line in lines.splitlines()]


class Wire:
    """Every new connection of a host to the service's port, and every request in plaintext."""

    def __init__(self, host: Host) -> None:
        self._file = host.folder / "wire.pcap"
        first = "tcp[((tcp[12:1] & 0xf0) >> 2):4]"
        begins = " or ".join(f"{first} = {start:#x}" for start in PLAINTEXT_STARTS)
        wanted = f"ip and dst port {PORT} and (tcp[tcpflags] & tcp-syn != 0 or {begins})"
        words = ["tcpdump", "-i", "eth0", "-s", "128", "-Z", "root", "-w", str(self._file), wanted]
        self._process = host.spawn("wire", words)
        wait_for("tcpdump", lambda: "listening on" in self._process.said())

    def seen(self) -> bytes:
        """Stop and give all that was captured."""
        time.sleep(0.5)  # what is still on its way through the kernel's buffer
        self._process.stop()
        return self._file.read_bytes()


class Stage:
    """The hosts; nobody but the two meshed clients is in the mesh yet."""

    def __init__(self, lab: Lab, consul_binary: Path, *, count: int = 5) -> None:
        self.mesh = LabMesh(lab, config=WITH_CONSUL, start=False)
        self.consul = ConsulServer(self.mesh.cp, consul_binary, dns=True)
        self.consul.start()
        self.servers = [self._server(f"web{number}") for number in range(1, count + 1)]
        self.mesh.control_plane.start()
        wait_for("the instances", lambda: len(self.rows()) == count)
        self.meshed = [
            self.mesh.join(self.mesh.host(name), extra=ONE_WORKER) for name in ("byname", "bydns")
        ]
        bare = self.mesh.host("bare")
        wait_for("the name", lambda: virtual_address(self.meshed[0].host, SERVICE, 4))
        self.wires = {agent.host.name: Wire(agent.host) for agent in self.meshed}
        dns = f"{self.mesh.cp.ipv4}:{DNS_PORT}"
        self.by_name = Client(self.meshed[0].host, 0, name=SERVICE)
        self.by_dns = Client(self.meshed[1].host, 1, name=DNS_NAME, dns=dns)
        self.bare = Client(bare, 2, name=DNS_NAME, dns=dns)

    @property
    def clients(self) -> Sequence[Client]:
        """Give all three."""
        return (self.by_name, self.by_dns, self.bare)

    def _server(self, name: str) -> Server:
        host = self.mesh.host(name)
        server = Server(name=name, host=host, log=own_file(host.folder / f"{name}.requests"))
        server.start()
        self.consul.watch(server.instance, "/health")
        return server

    def rows(self) -> dict[str, dict[str, object]]:
        """Give the service's endpoints by `address:port`."""
        rows = self.mesh.control_plane.endpoints(SERVICE)
        return {name: dict(row) for name, row in rows.items()}

    def meshed_and_well(self, server: Server) -> bool:
        """Tell whether peers are sent to it as a member of the mesh."""
        row = self.rows().get(server.endpoint, {})
        return bool(row.get("meshed")) and row.get("health") == "healthy"

    def plain_and_well(self, server: Server) -> bool:
        """Tell whether peers are sent to it as Consul lists it."""
        row = self.rows().get(server.endpoint, {})
        return bool(row) and not row.get("meshed") and row.get("health") == "healthy"

    def listed(self, server: Server) -> bool:
        """Tell whether Consul's own checks let it be called."""
        found = json.loads(self.consul.get(f"/v1/health/service/{SERVICE}?passing"))
        return any(each["Service"]["Address"] == server.host.ipv4 for each in found)

    def join(self, server: Server) -> float:
        """Let a server join; give how long until peers call it by mutual TLS."""
        began = time.monotonic()
        server.agent = self.mesh.join(server.host, [ENTRY], extra=ONE_WORKER)
        wait_for(f"{server.name} in the mesh", lambda: self.meshed_and_well(server))
        return time.monotonic() - began

    def leave(self, server: Server) -> float:
        """Let a server leave; give how long until it is reached as before."""
        began = time.monotonic()
        if server.agent is None:
            raise RuntimeError(f"{server.name} never joined")
        server.agent.command("leave")
        wait_for(f"{server.name} as before", lambda: self.plain_and_well(server))
        return time.monotonic() - began

    @staticmethod
    def lines(server: Server) -> list[dict[str, object]]:
        """Give what the app's own log says."""
        return list(lines_of(server.log))
