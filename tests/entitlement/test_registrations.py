"""A host of `web` tries to register, report and drain what is not its own: 0 successes."""

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.any_pb2 import Any

from hostmesh_core import names, type_urls
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_testing.entitlement_world import (
    STRAY_PORT,
    VICTIM_PORT,
    WEB,
    World,
    web,
)

pytestmark = pytest.mark.process

OUTSIDE = pb.ServiceRegistration(service="web.example.com", port=80, workload_port=8080)


@pytest.mark.parametrize(
    ("claimed", "why", "said"),
    [
        pytest.param(
            pb.ServiceRegistration(service="payments", port=443, workload_port=8080),
            "not_granted",
            "not service default/payments",
            id="another service",
        ),
        pytest.param(
            pb.ServiceRegistration(
                service="payments.default.mesh.internal", port=443, workload_port=8080
            ),
            "not_granted",
            "not service default/payments",
            id="another service by its full name",
        ),
        pytest.param(
            pb.ServiceRegistration(service="payments", port=443, workload_port=STRAY_PORT),
            "not_granted",
            "not service default/payments",
            id="a mesh-only service where a catalog lists this very address",
        ),
        pytest.param(
            pb.ServiceRegistration(
                service="payments.service.consul", port=443, workload_port=STRAY_PORT
            ),
            "not_granted",
            "not service default/payments.service.consul",
            id="another service by the name that Consul gives it",
        ),
        pytest.param(
            web(namespace="shop"),
            "not_granted",
            "not service shop/web",
            id="the own name in another namespace",
        ),
        pytest.param(
            web(service="web.shop.mesh.internal"),
            "not_granted",
            "not service shop/web",
            id="the own name in another namespace, in full",
        ),
        pytest.param(
            web(service="web.default.mesh.internal", namespace="shop"),
            "unreadable",
            "the name says default",
            id="a name of one namespace in another",
        ),
        pytest.param(
            OUTSIDE, "not_granted", "not service default/web.example.com", id="another domain"
        ),
        pytest.param(
            web(service_account="payments"),
            "not_granted",
            "as service account default/payments",
            id="the own service as somebody else",
        ),
        pytest.param(
            web(service="control-plane.mesh.internal"),
            "unreadable",
            "a name of the mesh is <service>.<namespace>.mesh.internal",
            id="the control plane's own name",
        ),
        pytest.param(
            web(service="/hostmesh/host/0"),
            "unreadable",
            "expected a DNS name",
            id="a name that looks like a host's id",
        ),
        pytest.param(
            web(addresses=["10.20.30.40"]),
            "address",
            "the control plane sees 127.0.0.1",
            id="the address of another host",
        ),
        pytest.param(
            web(addresses=["240.240.0.1"]),
            "address",
            "240.240.0.1 is no host's address",
            id="a virtual address",
        ),
        pytest.param(
            web(addresses=["fd48:6d65:7368::1"]),
            "address",
            "fd48:6d65:7368::1 is no host's address",
            id="a virtual address of the other family",
        ),
        pytest.param(
            web(addresses=["0.0.0.0"]), "address", "is no host's address", id="every address"
        ),
        pytest.param(
            web(addresses=["224.0.0.1"]), "address", "is no host's address", id="a multicast group"
        ),
        pytest.param(
            web(addresses=["169.254.169.254"]),
            "address",
            "peers cannot reach 169.254.169.254",
            id="a link-local address",
        ),
        pytest.param(
            web(addresses=["::ffff:10.20.30.40"]),
            "address",
            "the control plane sees 127.0.0.1",
            id="the address of another host, written as IPv6",
        ),
        pytest.param(
            web(workload_port=VICTIM_PORT),
            "taken",
            "has registered it for payments.default.mesh.internal",
            id="the address and port of another host's service",
        ),
        pytest.param(
            web(endpoint_port=VICTIM_PORT),
            "taken",
            "has registered it for payments.default.mesh.internal",
            id="another service's port as a mesh port",
        ),
        pytest.param(
            pb.ServiceRegistration(service="web", port=80),
            "unreadable",
            "cannot use endpoint_port 0",
            id="port 0",
        ),
        pytest.param(
            web(endpoint_port=70_000), "unreadable", "cannot use endpoint_port 70000", id="no port"
        ),
        pytest.param(
            web(weight=1_000_000), "unreadable", "cannot use weight 1000000", id="all the weight"
        ),
    ],
)
def test_a_registration_that_is_not_its_own(
    world: World, claimed: pb.ServiceRegistration, why: str, said: str
) -> None:
    with world.refusal(why, world.attacker.host_id, f"why={why}", said):
        verdict = world.attacker.register(claimed)
        (answer,) = verdict.services
        assert not answer.accepted
        assert said in answer.reason
        assert world.attacker.register(WEB).services[0].accepted, "its own stays possible"


def test_a_declaration_is_held_to_the_same(world: World) -> None:
    claimed = pb.ServiceRegistration(
        service="payments", port=443, workload_port=8080, declared_only=True
    )
    with world.refusal("not_granted", world.attacker.host_id, "not service default/payments"):
        assert not world.attacker.register(claimed).services[0].accepted
        world.attacker.register(WEB)


def test_its_own_beside_what_is_not_its_own(world: World) -> None:
    claimed = pb.ServiceRegistration(service="payments", port=443, workload_port=8081)
    with world.refusal("not_granted", world.attacker.host_id):
        verdict = world.attacker.register(WEB, claimed)
        assert [one.accepted for one in verdict.services] == [True, False]
        world.attacker.register(WEB)


def test_an_outbound_identity_that_is_not_its_own(world: World) -> None:
    stated = pb.OutboundIdentity(
        capture_port=15001, namespace="default", service_account="payments"
    )
    with world.refusal("not_granted", world.attacker.host_id, "speak as default/payments"):
        world.attacker.register(WEB, outbound=[stated])
        world.attacker.register(WEB)


def test_more_services_than_a_host_has(world: World) -> None:
    many = [web(service=f"web-{n}", workload_port=10_000 + n) for n in range(257)]
    with world.refusal("unreadable", world.attacker.host_id, "too many services"):
        assert not world.attacker.register(*many).services[0].accepted
        world.attacker.register(WEB)


def test_a_catalog_s_stray_entry_is_withheld_and_shown_as_unmeshed(world: World) -> None:
    rows = {str(row["endpoint"]): row for row in world.endpoints("payments")}
    assert rows[f"127.0.0.1:{VICTIM_PORT}"]["meshed_text"] == "yes"
    assert rows[f"127.0.0.1:{STRAY_PORT}"]["meshed_text"] == "withheld"
    cluster = names.outbound_cluster("payments.default.mesh.internal", 443)
    served, _ = world.attacker.resources(type_urls.ENDPOINT, cluster)
    assert b"127.0.0.1" in served[cluster]
    assert STRAY_PORT not in _ports(served[cluster])
    assert VICTIM_PORT in _ports(served[cluster])


def _ports(packed: bytes) -> list[int]:
    assignment = ClusterLoadAssignment()
    assert Any.FromString(packed).Unpack(assignment)
    return [
        endpoint.endpoint.address.socket_address.port_value
        for locality in assignment.endpoints
        for endpoint in locality.lb_endpoints
    ]


def test_another_host_s_health_cannot_be_reported(world: World) -> None:
    before = world.payments()
    for name in ("payments", "payments.default.mesh.internal"):
        world.attacker.report(
            pb.HealthReport(
                service=name,
                workload_port=VICTIM_PORT,
                status=pb.STATUS_UNHEALTHY,
                reason="the attacker says so",
            )
        )
    assert world.payments() == before


def test_another_host_s_service_cannot_be_drained(world: World) -> None:
    before = world.payments()
    world.attacker.drain("payments", "payments.default.mesh.internal")
    assert world.payments() == before
    assert world.attacker.register(WEB).services[0].accepted


def test_a_key_that_is_taken_stays_taken_however_often_it_is_asked_for(world: World) -> None:
    with world.refusal("taken", world.attacker.host_id, "has registered it for payments"):
        for _ in range(3):
            assert not world.attacker.register(web(workload_port=VICTIM_PORT)).services[0].accepted
        world.attacker.register(WEB)
