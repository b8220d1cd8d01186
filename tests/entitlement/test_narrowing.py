"""A grant is narrowed while its host runs what it covered: a real control plane, real streams."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.any_pb2 import Any

from hostmesh_core import names, type_urls
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_testing import command_line
from hostmesh_testing.meshed_host import LoopThread, MeshedHost, loop_thread, meshed_host
from hostmesh_testing.plane_process import PlaneProcess, plane_process
from hostmesh_testing.waiting import wait_until

pytestmark = pytest.mark.process

SECONDS = 5.0
"""How soon what a host may no more claim is out of its peers' endpoints."""
CATALOG = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec:
  hosts: [web.default.mesh.internal]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints:
    - {address: 127.0.0.1, ports: {http: 8080}}
    - {address: 127.0.0.9, ports: {http: 8080}}
"""
SERVED = {"web": 8080, "api": 9090}


@dataclass(frozen=True)
class World:
    plane: PlaneProcess
    loop: LoopThread
    host: MeshedHost
    peer: MeshedHost

    def grant(self, *options: str) -> command_line.Ended:
        argv = ["host", "grant", self.host.host_id[:8], *options]
        return command_line.run("hostmesh", "--api", self.plane.socket, *argv)

    def seen(self, service: str) -> set[str]:
        """Give the addresses at which the peer is told to reach a service."""
        cluster = names.outbound_cluster(f"{service}.default.mesh.internal", 80)
        found, _ = self.peer.resources(type_urls.ENDPOINT, cluster)
        told = ClusterLoadAssignment()
        if found:
            Any.FromString(found[cluster]).Unpack(told)
        places = [place for group in told.endpoints for place in group.lb_endpoints]
        sockets = [place.endpoint.address.socket_address for place in places]
        return {f"{one.address}:{one.port_value}" for one in sockets}

    def until_seen(self, service: str, *addresses: str) -> None:
        wait_until(
            lambda: self.seen(service) == set(addresses),
            seconds=SECONDS,
            what=f"{service} at {addresses}",
        )

    def verdicts(self) -> dict[str, pb.ServiceVerdict]:
        return {one.service: one for one in self.host.verdicts[-1].services}


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        plane = stack.enter_context(plane_process())
        (plane.catalog / "web.yaml").write_text(CATALOG)
        plane.start()
        address = f"127.0.0.1:{plane.xds_port}"
        loop = stack.enter_context(loop_thread())
        cidr = ["127.0.0.1/32"]
        hosts = [
            stack.enter_context(meshed_host(loop, plane.enrol(name, **body), address))
            for name, body in (
                ("shop-1", {"service": list(SERVED), "cidr": cidr}),
                ("client-1", {"service_account": ["client"]}),
            )
        ]
        world = World(plane, loop, *hosts)
        services = [
            pb.ServiceRegistration(
                service=name,
                port=80,
                workload_port=port,
                protocol="http",
                health=pb.STATUS_HEALTHY,
            )
            for name, port in SERVED.items()
        ]
        verdict = world.host.register(*services)
        assert all(one.accepted for one in verdict.services), verdict
        world.until_seen("web", "127.0.0.1:8080", "127.0.0.9:8080")
        yield world


def test_what_a_grant_no_more_covers_is_out_everywhere_and_the_rest_goes_on(world: World) -> None:
    narrowed = world.grant("--remove-service", "web")

    assert narrowed.status == 0, narrowed.err
    assert "may claim: services default/api" in narrowed.out
    assert "web.default.mesh.internal 127.0.0.1:8080 is out of the endpoints of" in narrowed.out
    world.until_seen("web", "127.0.0.9:8080")  # also what its catalog still says of it is out
    assert world.seen("api") == {"127.0.0.1:9090"}
    wait_until(lambda: not world.verdicts()["web"].accepted, what="a verdict that refuses web")
    reason = world.verdicts()["web"].reason
    allow = f"hostmesh host grant {world.host.host_id} --add-service-as default/web web"
    assert allow in reason
    assert world.verdicts()["api"].accepted
    shown = world.plane.api.get("services", "web")
    assert isinstance(shown, dict)
    out = {row["endpoint"]: row["why"] for row in shown["endpoint_rows"]}["127.0.0.1:8080"]
    assert "its host's lease or grant ended" in out
    audit = [line for line in world.plane.log().splitlines() if "/grant' user=" in line]
    assert len(audit) == 1
    assert "services default/api, default/web" in audit[0]
    assert "outcome='done'" in audit[0]

    widened = world.grant(*reason.split(world.host.host_id)[-1].split())

    assert widened.status == 0, widened.err
    assert "web.default.mesh.internal 127.0.0.1:8080 is registered" in widened.out
    world.until_seen("web", "127.0.0.1:8080", "127.0.0.9:8080")
    assert world.seen("api") == {"127.0.0.1:9090"}


def test_a_network_that_is_taken_away_takes_its_addresses_out(world: World) -> None:
    narrowed = world.grant("--remove-cidr", "127.0.0.1/32")
    assert narrowed.status == 0, narrowed.err
    assert narrowed.out.count("is out of the endpoints of") == 2
    world.until_seen("web", "127.0.0.9:8080")
    world.until_seen("api")
    wait_until(lambda: not world.verdicts()["api"].accepted, what="a verdict that refuses api")
    assert "peers cannot reach 127.0.0.1" in world.verdicts()["api"].reason


def test_the_last_grant_that_names_an_account_goes_and_so_does_whoever_runs_as_it(
    world: World,
) -> None:
    """The other host's grant is a pattern, which makes clients accept nobody."""
    plane = world.plane
    naming = plane.enrol("shop-2", service=["pay"], service_account=["special"])
    body = {"service": ["pay"], "service_account": ["s*"], "cidr": ["127.0.0.1/32"]}
    enrolled = plane.enrol("shop-3", **body)
    (plane.catalog / "pay.yaml").write_text(CATALOG.replace("web", "pay").replace("8080", "8081"))
    world.until_seen("pay", "127.0.0.1:8081", "127.0.0.9:8081")
    with meshed_host(world.loop, enrolled, world.host.address) as host:
        pay = pb.ServiceRegistration(
            service="pay", port=80, workload_port=8081, service_account="special"
        )
        pay.health = pb.STATUS_HEALTHY
        (verdict,) = host.register(pay).services
        assert verdict.accepted, verdict

        argv = ["host", "revoke", naming.host_id]
        assert command_line.run("hostmesh", "--api", plane.socket, *argv, "--yes").status == 0

        world.until_seen("pay", "127.0.0.9:8081")
        wait_until(lambda: not host.verdicts[-1].services[0].accepted, what="a refusal of pay")
        assert (
            "do not accept service account default/special" in host.verdicts[-1].services[0].reason
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["--remove-service", "wbe"], "cannot remove default/wbe", id="not covered"),
        pytest.param(["--remove-cidr", "10.0.0.0/8"], "cannot remove network", id="no such net"),
    ],
)
def test_a_change_that_cannot_be_made_changes_nothing(
    world: World, options: list[str], said: str
) -> None:
    ended = world.grant(*options)
    assert ended.status == 2
    assert said in ended.err
    assert world.seen("web") == {"127.0.0.1:8080", "127.0.0.9:8080"}
