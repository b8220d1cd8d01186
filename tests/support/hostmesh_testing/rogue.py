"""A lab with a service, its honest instances, and somebody who may write the catalog, no more."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.consul import ConsulServer, Instance
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_ctl.demo.mesh import Row, wait_for
from hostmesh_testing import certificates
from hostmesh_testing.lab_mesh import WITH_CONSUL, LabMesh, call, start_app, start_module

PORT = 9080
WEB = "web.default.mesh.internal"
CONFIG = WITH_CONSUL.replace("8500'}", "8500', settle_seconds: 0.5}")
HTTP = {"protocol": "http"}
VICTIMS = ("web1", "web2")


class Town:
    """web1, web2 and web3 serve web; client calls it; evil is the rogue's host."""

    def __init__(self, lab: Lab, consul_bin: Path) -> None:
        self.mesh = LabMesh(lab, config=CONFIG, start=False)
        self.cp = self.mesh.control_plane
        self.consul = ConsulServer(self.mesh.cp, consul_bin)
        self.consul.start()
        self.hosts = {name: self.mesh.host(name) for name in (*VICTIMS, "web3")}
        for name, host in self.hosts.items():
            start_app(host, "http", name, PORT)
            self.consul.register(self.entry(host))
        self.evil = self.mesh.host("evil")
        self._listen()
        self._heard = 0
        self.cp.start()
        self.client = self.mesh.join(self.mesh.host("client"))
        wait_for("three endpoints", lambda: len(self.cp.endpoints("web")) == 3)
        wait_for("an answer", lambda: self.answers(1)["failed"] == 0)

    def _listen(self) -> None:
        forged = certificates.authority().leaf(uris=("spiffe://mesh.internal/ns/default/sa/web",))
        self.evil.write("/etc/forged.crt", forged.chain_pem.decode())
        self.evil.write("/etc/forged.key", forged.key_pem.decode())
        module = "hostmesh_testing.lab_apps.rogue_listener"
        words = [module, str(PORT), "/etc/forged.crt", "/etc/forged.key"]
        self.listener = start_module(self.evil, "listener", words)

    def reach(self, state: str) -> None:
        """Go to a state; there is no way back to plain."""
        now = self.cp.state("web")
        if now == "plain" and state != "plain":
            for name in VICTIMS:
                self.mesh.join(self.hosts[name], ["{name: web, port: 9080, protocol: http}"])
            self.mesh.wait_meshed("web", 2)
        if now != "mesh" and state == "mesh":
            self.cp.command("service", "require-mesh", "web", "--force")
        if now == "mesh" and state == "mixed":
            self.cp.command("service", "allow-unmeshed", "web")
        assert self.cp.state("web") == state
        self.applied()

    def applied(self) -> None:
        """Wait until the client's Envoy has applied what the control plane knows by now."""

        def synced() -> bool:
            rows = self.cp.rows("proxy-status")
            return all(row["state"] == "synced" for row in rows if row["name"] == "client")

        time.sleep(0.7)  # Consul's answer on its way, and what coalesces behind it
        wait_for("an applied change", synced)

    @staticmethod
    def entry(host: Host, *, service: str = "web", port: int = PORT, status: str = "passing",
              ) -> Instance:  # fmt: skip
        """An honest host's entry in the catalog."""
        return Instance(
            service=service, address=host.ipv4, port=port, id=host.name, status=status, meta=HTTP
        )

    # What the rogue does: he writes the catalog.

    def write(
        self,
        service: str,
        address: str,
        *,
        port: int = PORT,
        weight: int = 1,
        node: str = "n-evil",
        meta: Mapping[str, str] = HTTP,
    ) -> None:
        """List an address under a service, from a node of his own."""
        number = f"{service}-{address}-{port}"
        body = {
            "Node": f"{node}-{abs(hash(number)) % 10**6}",
            "Address": self.evil.ipv4,
            "Service": {
                "ID": number,
                "Service": service,
                "Address": address,
                "Port": port,
                "Meta": dict(meta),
                "Weights": {"Passing": weight, "Warning": weight},
            },
        }
        self.consul.put("/v1/catalog/register", body)

    def erase(self, service: str, address: str, *, port: int = PORT, node: str = "n-evil") -> None:
        """Take it back."""
        number = f"{service}-{address}-{port}"
        body = {"Node": f"{node}-{abs(hash(number)) % 10**6}"}
        self.consul.put("/v1/catalog/deregister", body)

    def heard(self) -> list[dict[str, str]]:
        """Give what his listener noted since it was asked last."""
        lines = [line for line in self.listener.said().splitlines() if line.startswith("{")]
        new, self._heard = lines[self._heard :], len(lines)
        return [json.loads(line) for line in new]

    # What becomes of it.

    def row(self, address: str, *, service: str = "web") -> Row:
        """Give the row of an endpoint, once it is there."""
        key = f"{address}:{PORT}"
        wait_for(f"{key} in {service}", lambda: key in self.cp.endpoints(service))
        return self.cp.endpoints(service)[key]

    def gone(self, address: str, *, service: str = "web") -> None:
        """Wait until nobody lists it any more."""
        key = f"{address}:{PORT}"
        wait_for(f"no {key}", lambda: key not in self.cp.endpoints(service))
        self.applied()

    def answers(self, count: int, *, service: str = "web", mark: str = "") -> Counter[str]:
        """Call from the client; count who answered, `failed` where nobody did."""
        found: Counter[str] = Counter({"failed": 0})
        for _ in range(count):
            try:
                answer = call(self.client.host, service, PORT, path=f"/{mark}")
                who = answer.said.get("server", "failed") if answer.status == 200 else "failed"
            except inside.NoAnswer:
                who = "failed"
            found[who] += 1
        return found
