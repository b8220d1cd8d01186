"""The merge with a real Consul: a catalog that answers less than the truth empties no pool."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hostmesh_ctl.demo.consul import ConsulServer, Instance
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.mesh import wait_for
from hostmesh_testing.lab_mesh import WITH_CONSUL, LabMesh

TOKEN_FILE = "/etc/hostmesh/consul.token"
WITH_TOKEN = WITH_CONSUL.replace("8500'}", f"8500', token_file: {TOKEN_FILE}}}")
ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: default}
spec:
  hosts: [web.default.mesh.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints: [{address: 10.77.0.100}, {address: 10.77.0.101}]
"""
OUTAGE_SECONDS = 4.0
"""Long enough for several failed polls; a loss would show within one."""


def _instances(count: int, *, first: int = 101, port: int = 9080) -> list[Instance]:
    meta = {"protocol": "http"}
    return [
        Instance(service="web", address=f"10.77.0.{first + n}", port=port, meta=meta)
        for n in range(count)
    ]


class Catalogs:
    """A control plane beside a Consul that lists `count` instances of web."""

    def __init__(self, lab: Lab, binary: Path, count: int, *, acl: bool = False) -> None:
        self.mesh = LabMesh(lab, config=WITH_TOKEN if acl else WITH_CONSUL, start=False)
        self.consul = ConsulServer(self.mesh.cp, binary, acl=acl)
        self.consul.start()
        self.accessor = ""
        if acl:
            self.consul.bootstrap_acl()
            self.accessor, secret = self.consul.make_token()
            self.mesh.cp.write(TOKEN_FILE, secret + "\n", mode=0o600)
        self.instances = _instances(count)
        for instance in self.instances:
            self.consul.register(instance)
        self.mesh.control_plane.start()
        self.wait(f"{count} endpoints", lambda: len(self.endpoints()) == count)

    def endpoints(self) -> dict[str, str]:
        """Give the sources of each endpoint."""
        rows = self.mesh.control_plane.endpoints("web")
        return {endpoint: str(row["source"]) for endpoint, row in rows.items()}

    def held(self) -> int:
        """Give how many endpoints are held."""
        rows = self.mesh.control_plane.endpoints("web").values()
        return sum(bool(row.get("held")) for row in rows)

    def source(self) -> str:
        """Give the status of source consul."""
        rows = self.mesh.control_plane.rows("sources")
        return str(next(row["status"] for row in rows if row["name"] == "consul"))

    @staticmethod
    def wait(what: str, condition: Callable[[], object], *, seconds: float = 20.0) -> float:
        return wait_for(what, condition, seconds=seconds)

    def stays(self, count: int, *, seconds: float = OUTAGE_SECONDS) -> None:
        """See `count` endpoints without a gap."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert len(self.endpoints()) == count
            time.sleep(0.1)


def test_one_service_from_files_and_consul(lab: Lab, consul_bin: Path) -> None:
    catalogs = Catalogs(lab, consul_bin, 2)
    catalogs.mesh.control_plane.catalog("web.yaml", ENTRY)
    catalogs.wait("three endpoints", lambda: len(catalogs.endpoints()) == 3)
    assert catalogs.endpoints() == {
        "10.77.0.100:9080": "static",
        "10.77.0.101:9080": "static+consul",
        "10.77.0.102:9080": "consul",
    }
    services = catalogs.mesh.control_plane.rows("services")
    assert [row["host"] for row in services] == ["web.default.mesh.internal"]
    catalogs.mesh.control_plane.catalog("web.yaml", "")
    catalogs.wait("consul's two", lambda: set(catalogs.endpoints().values()) == {"consul"})


def test_one_broken_file_takes_nothing_down(lab: Lab, consul_bin: Path) -> None:
    catalogs = Catalogs(lab, consul_bin, 1)
    catalogs.mesh.control_plane.catalog("web.yaml", ENTRY)
    catalogs.wait("all", lambda: len(catalogs.endpoints()) == 2)
    catalogs.mesh.control_plane.catalog("web.yaml", ENTRY.replace("endpoints:", "endpiont:"))
    catalogs.mesh.control_plane.catalog("other.yaml", ENTRY.replace("web", "other"))
    catalogs.wait(
        "the good file", lambda: catalogs.mesh.control_plane.endpoints("other"), seconds=10
    )
    catalogs.stays(2, seconds=1.0)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_consul_away_loses_no_endpoint_and_its_return_is_followed(
    lab: Lab, consul_bin: Path, how: str
) -> None:
    catalogs = Catalogs(lab, consul_bin, 6)
    (catalogs.consul.stop if how == "stopped" else catalogs.consul.kill)()
    catalogs.wait("a stale source", lambda: catalogs.source().startswith("stale"))
    catalogs.stays(6)
    catalogs.consul.start()
    catalogs.wait("a healthy source", lambda: catalogs.source() == "healthy", seconds=40)
    catalogs.consul.register(_instances(1, first=150)[0])
    catalogs.wait("the new one", lambda: "10.77.0.150:9080" in catalogs.endpoints(), seconds=30)
    catalogs.stays(7, seconds=1.0)


def test_a_token_that_may_read_nothing_any_more_loses_no_endpoint(
    lab: Lab, consul_bin: Path
) -> None:
    catalogs = Catalogs(lab, consul_bin, 6, acl=True)
    catalogs.consul.set_policy("")
    catalogs.stays(6, seconds=6.0)
    catalogs.wait("a word about it", lambda: catalogs.source() != "healthy")
    catalogs.consul.set_policy('service_prefix "" { policy = "read" }\n'
                               'node_prefix "" { policy = "read" }\n')  # fmt: skip
    catalogs.wait("a healthy source", lambda: catalogs.source() == "healthy", seconds=40)
    catalogs.consul.deregister(catalogs.instances[0])
    catalogs.wait("five", lambda: len(catalogs.endpoints()) == 5, seconds=30)


def test_a_deleted_token_loses_no_endpoint(lab: Lab, consul_bin: Path) -> None:
    catalogs = Catalogs(lab, consul_bin, 6, acl=True)
    catalogs.consul.delete_token(catalogs.accessor)
    catalogs.wait("a stale source", lambda: catalogs.source().startswith("stale"), seconds=30)
    catalogs.stays(6)


def test_a_mass_deregistration_is_held_until_it_is_accepted(lab: Lab, consul_bin: Path) -> None:
    catalogs = Catalogs(lab, consul_bin, 18)
    for instance in catalogs.instances[:12]:
        catalogs.consul.deregister(instance)
    catalogs.wait("a held source", lambda: catalogs.source().startswith("holding"))
    assert len(catalogs.endpoints()) > 12
    assert catalogs.held() >= 6
    catalogs.stays(len(catalogs.endpoints()))
    catalogs.mesh.control_plane.command("source", "accept", "consul")
    catalogs.wait("the six that are left", lambda: len(catalogs.endpoints()) == 6)
    assert catalogs.source() == "healthy"


def test_a_loss_of_a_few_is_believed(lab: Lab, consul_bin: Path) -> None:
    catalogs = Catalogs(lab, consul_bin, 18)
    for instance in catalogs.instances[:4]:
        catalogs.consul.deregister(instance)
    catalogs.wait("fourteen", lambda: len(catalogs.endpoints()) == 14, seconds=10)
    assert catalogs.source() == "healthy"


def test_a_rolling_redeploy_is_not_a_loss(lab: Lab, consul_bin: Path) -> None:
    catalogs = Catalogs(lab, consul_bin, 18)
    for old in catalogs.instances[:6]:
        catalogs.consul.register(replace(old, port=9180, id=f"{old.key}-new"))
        time.sleep(1.5)
        catalogs.consul.deregister(old)
        time.sleep(1.8)
        assert catalogs.source() == "healthy"
    catalogs.wait("the new ports", lambda: _ports(catalogs) == {"9080": 12, "9180": 6})
    assert catalogs.held() == 0


def _ports(catalogs: Catalogs) -> dict[str, int]:
    ports = [endpoint.rpartition(":")[2] for endpoint in catalogs.endpoints()]
    return {port: ports.count(port) for port in set(ports)}


def test_health_and_weight_of_consul_are_followed(lab: Lab, consul_bin: Path) -> None:
    catalogs = Catalogs(lab, consul_bin, 2)
    sick = replace(catalogs.instances[0], status="critical")
    catalogs.consul.register(sick)
    rows = catalogs.mesh.control_plane.endpoints
    key = f"{sick.address}:{sick.port}"
    catalogs.wait("the sick one", lambda: rows("web")[key]["health"] == "unhealthy")
    assert rows("web")[key]["why"]
    catalogs.consul.register(replace(sick, status="passing"))
    catalogs.wait("its return", lambda: rows("web")[key]["health"] == "healthy")


def test_a_control_plane_restarted_without_consul_serves_the_stored_view(
    lab: Lab, consul_bin: Path
) -> None:
    catalogs = Catalogs(lab, consul_bin, 6)
    before = json.dumps(catalogs.mesh.control_plane.rows("services"))
    catalogs.consul.kill()
    catalogs.mesh.control_plane.stop()
    catalogs.mesh.control_plane.start()
    catalogs.stays(6)
    assert json.dumps(catalogs.mesh.control_plane.rows("services")) == before  # the VIPs too
    catalogs.consul.start()
    catalogs.wait("a healthy source", lambda: catalogs.source() == "healthy", seconds=40)
    catalogs.stays(6, seconds=1.0)
