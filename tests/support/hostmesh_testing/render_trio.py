"""A client and two servers of one service in the lab: real Envoys, fed what is rendered."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hostmesh_controlplane.logic.publication import Publication
from hostmesh_core.ids import Identity
from hostmesh_core.model import MeshChange, Port, Protocol, Service
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_ctl.demo.processes import Running
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.certificates import authority
from hostmesh_testing.render_ads import secrets
from hostmesh_testing.render_lab import Sidecar, capture_inbound, capture_outbound
from hostmesh_testing.waiting import wait_until

HTTP, TCP = 9080, 5432
URL = f"http://240.240.0.1:{HTTP}/"
HELD = """
import http.client, sys
c = http.client.HTTPConnection("240.240.0.1", 9080, timeout=5)
c.connect()
first = c.sock.getsockname()
for line in sys.stdin:
    c.request("GET", "/")
    r = c.getresponse(); r.read()
    same = c.sock is not None and c.sock.getsockname() == first
    print(r.status, "same" if same else "another", flush=True)
"""


@dataclass
class Trio:
    """A client and two servers of one service."""

    client: Host
    servers: list[Host]
    apps: list[Running]
    publication: Publication
    near: Sidecar
    far: list[Sidecar]

    def change(self, change: MeshChange) -> None:
        self.near.ads.changed(self.publication.apply([change]))

    def settle(self) -> None:
        for each in (self.near, *self.far):
            wait_until(each.ads.settled, what="every answer")
            assert each.ads.refused == []

    def seen(self, *words: str, url: str = URL) -> dict[str, str]:
        argv = ["curl", "-sS", "-m", "5", *words, url]
        answer = self.client.run(argv, uid=1001, check=False).stdout
        found: dict[str, str] = json.loads(answer) if answer.startswith("{") else {"": answer}
        return found

    def statuses(self, count: int, *words: str) -> list[str]:
        """Send requests over one connection and give what each got."""
        argv = ["curl", "-sS", "-m", "5", "-w", "%{http_code} ", *words]
        for _ in range(count):
            argv += ["-o", "/dev/null", URL]
        return self.client.run(argv, uid=1001, check=False).stdout.split()


def _app(host: Host, kind: str, port: int) -> Running:
    words = ["-m", "hostmesh_ctl.demo.apps", kind, "--name", host.name, "--port", str(port)]
    return host.spawn(f"{kind}-{port}", [sys.executable, *words], uid=1002)


def reviews(servers: list[Host]) -> Service:
    registered = (mesh.endpoint(each.ipv4, HTTP, service="reviews") for each in servers)
    return mesh.service("reviews", *registered)


def trio() -> Iterator[Trio]:
    """Build it, and take it away."""
    with Lab() as lab:
        client = lab.host("client")
        servers = [lab.host("one"), lab.host("two")]
        db = mesh.service(
            "db",
            mesh.endpoint(servers[0].ipv4, TCP, service="db"),
            number=2,
            ports=(Port(TCP, Protocol.TCP),),
        )
        publication = mesh.published(reviews(servers), db)
        ports = (
            mesh.inbound_port(HTTP),
            mesh.inbound_port(TCP, protocol=Protocol.TCP, identity=Identity("default", "db")),
        )
        root = authority()
        own = [Identity("default", name) for name in ("reviews", "db")]
        far, apps = [], []
        for each in servers:
            publication.set_inbound(each.name, mesh.inbound(*ports))
            apps.append(_app(each, "http", HTTP))
            _app(each, "echo", TCP)
            capture_inbound(each, HTTP, TCP, 9081)
            rendered = publication.resources(mesh.NO_IDENTITY, each.name)
            far.append(Sidecar(each, rendered, secrets(root, mesh.TRUST_DOMAIN, *own)))
        capture_outbound(client, uids={})
        near = Sidecar(
            client,
            publication.resources(mesh.SCOPE, "client"),
            secrets(root, mesh.TRUST_DOMAIN, mesh.SHOP),
        )
        yield Trio(client, servers, apps, publication, near, far)
        for sidecar in (near, *far):
            sidecar.stop()


class HeldConnection:
    """One client connection that is kept, and asked over again and again."""

    def __init__(self, host: Host) -> None:
        words = host.argv([sys.executable, "-u", "-c", HELD], uid=1001)
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.all_same = True

    def ask(self) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        self.all_same = self.all_same and answer.endswith(" same")
        return answer

    def until(self, status: str, what: str) -> None:
        got: list[str] = []

        def answered() -> bool:
            got.append(self.ask().split()[0])
            return got[-1] == status

        try:
            wait_until(answered)
        except AssertionError:
            pytest.fail(f"{what}: wanted {status}, got {sorted(set(got))}")

    def close(self) -> None:
        self._process.communicate(timeout=5)
