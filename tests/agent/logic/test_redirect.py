from dataclasses import replace

import pytest

from hostmesh_agent.config import (
    Address,
    AgentConfig,
    CaptureConfig,
    DnsMode,
    NamesConfig,
    OnEnvoyDown,
    PortsConfig,
    ServiceConfig,
)
from hostmesh_agent.logic.redirect import Users, plan
from hostmesh_core.capture_plan import CapturePlan, DnsBlock, InboundPort, OnDown
from hostmesh_core.errors import BadInput
from hostmesh_core.model import InboundMode

USERS = Users(proxy_uid=7, proxy_gid=8, agent_uid=9)
WEB = ServiceConfig(name="web", port=8080)
CONFIG = AgentConfig(control_planes=(Address(host="cp1", port=15012),), services=(WEB,))


def test_three_lines_of_agent_yaml_are_enough() -> None:
    found = plan(CONFIG, USERS)
    assert found == CapturePlan(proxy_uid=7, proxy_gid=8, agent_uid=9, inbound=(InboundPort(8080),))
    assert CapturePlan.decode(found.encode(), where="x") == found


STRICT, PERMISSIVE = InboundMode.STRICT, InboundMode.PERMISSIVE


@pytest.mark.parametrize(
    ("modes", "stated", "expected"),
    [
        pytest.param((STRICT,), None, OnDown.CLOSED, id="strict: closed"),
        pytest.param((STRICT, STRICT), None, OnDown.CLOSED, id="all strict: closed"),
        pytest.param((STRICT, PERMISSIVE), None, OnDown.OPEN, id="one permissive: open"),
        pytest.param((STRICT, None), None, OnDown.OPEN, id="one left to the mesh: open"),
        pytest.param((), None, OnDown.OPEN, id="a pure client: open"),
        pytest.param((STRICT,), OnEnvoyDown.OPEN, OnDown.OPEN, id="what is stated counts"),
        pytest.param((None,), OnEnvoyDown.CLOSED, OnDown.CLOSED, id="so does closed"),
    ],
)
def test_what_inbound_does_without_envoy(
    modes: tuple[InboundMode | None, ...], stated: OnEnvoyDown | None, expected: OnDown
) -> None:
    services = tuple(
        ServiceConfig(name=f"s{i}", port=8000 + i, inbound=mode) for i, mode in enumerate(modes)
    )
    capture = CaptureConfig(on_envoy_down_inbound=stated)
    found = plan(replace(CONFIG, services=services, capture=capture), USERS)
    assert found.on_down_inbound is expected
    assert found.on_down_outbound is OnDown.OPEN


def test_a_mesh_port_is_bound_by_envoy_and_not_captured() -> None:
    services = (WEB, ServiceConfig(name="db", port=5432, mesh_port=15432))
    assert plan(replace(CONFIG, services=services), USERS).inbound == (InboundPort(8080),)


def test_what_root_allows_is_carried_over() -> None:
    found = plan(
        replace(
            CONFIG,
            instance="two",
            dns=DnsMode.OFF,
            ports=PortsConfig(outbound=16001, inbound=16006, readiness=16021),
            names=NamesConfig(take_over=("b.service.consul", "a.service.consul")),
            capture=CaptureConfig(
                enabled=False,
                exclude_inbound_ports=(2, 1, 2),
                exclude_outbound_ports=(5432,),
                exclude_outbound_cidrs=("fd00::/8", "10.0.0.0/8"),
                exclude_uids=(5, 3),
                endpoint_cidrs=("10.0.0.0/8",),
            ),
        ),
        USERS,
        mesh_domain="example.internal",
    )
    assert (found.instance, found.enabled, found.dns) == ("two", False, DnsBlock.OFF)
    assert (found.outbound_port, found.inbound_port, found.readiness_port) == (16001, 16006, 16021)
    assert found.take_over == ("a.service.consul", "b.service.consul")
    assert (found.exclude_inbound_ports, found.exclude_uids) == ((1, 2), (3, 5))
    assert found.exclude_outbound_cidrs == ("10.0.0.0/8", "fd00::/8")
    assert (found.endpoint_cidrs, found.mesh_domain) == (("10.0.0.0/8",), "example.internal")


def _services(*services: ServiceConfig) -> AgentConfig:
    return replace(CONFIG, services=services)


def _capture(capture: CaptureConfig) -> AgentConfig:
    return replace(CONFIG, capture=capture)


@pytest.mark.parametrize(
    ("config", "users", "said"),
    [
        pytest.param(CONFIG, replace(USERS, proxy_uid=0), "runs as root", id="root's Envoy"),
        pytest.param(CONFIG, replace(USERS, proxy_gid=0), "runs as root", id="root's group"),
        pytest.param(
            _services(ServiceConfig(name="ssh", port=22)), USERS, "ssh is never captured", id="ssh"
        ),
        pytest.param(
            _services(ServiceConfig(name="x", port=15006)),
            USERS,
            "it is inbound capture",
            id="a port of ours",
        ),
        pytest.param(
            _services(ServiceConfig(name="x", port=15120)),
            USERS,
            "outbound capture of an identity",
            id="a port of the identity pool",
        ),
        pytest.param(
            _services(WEB, ServiceConfig(name="web2", port=8080, inbound=STRICT)),
            USERS,
            "two services state it",
            id="one port, two modes",
        ),
        pytest.param(
            _services(ServiceConfig(name="db", port=3306, server_first=True, inbound=PERMISSIVE)),
            USERS,
            "needs inbound: strict or disable",
            id="server first and permissive",
        ),
        pytest.param(_capture(CaptureConfig(mode="all")), USERS, "only mesh", id="another mode"),
        pytest.param(
            _capture(CaptureConfig(exclude_outbound_ports=(70000,))),
            USERS,
            "capture.exclude_outbound_ports 70000",
            id="no port",
        ),
        pytest.param(
            _capture(CaptureConfig(endpoint_cidrs=("10.0.0.1/8",))),
            USERS,
            "capture.endpoint_cidrs '10.0.0.1/8'",
            id="host bits",
        ),
        pytest.param(
            replace(CONFIG, names=NamesConfig(take_over=("reviews",))),
            USERS,
            "expected a full name",
            id="a single label",
        ),
    ],
)
def test_what_cannot_hold_is_refused(config: AgentConfig, users: Users, said: str) -> None:
    with pytest.raises(BadInput, match=r"^cannot ") as raised:
        plan(config, users)
    assert said in str(raised.value)
