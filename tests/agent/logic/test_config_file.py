from hostmesh_agent.config import (
    Address,
    AgentConfig,
    CheckKind,
    DnsMode,
    OnEnvoyDown,
    PortsConfig,
    ServiceConfig,
)
from hostmesh_agent.logic import config_file
from hostmesh_core.ids import Identity
from hostmesh_core.model import InboundMode, Protocol

THREE_LINES = """\
control_planes: [cp1.example.net:15012]
services:
  - {name: reviews, port: 9080, protocol: http}
"""

EVERYTHING = """\
version: 1
instance: edge
control_planes: [cp1.example.net, "[fd00::1]:15112", 10.0.0.9:15012]
enrolment: 10.0.0.9
ports: {outbound: 16001, inbound: 16006, status: 16020, readiness: 16021, prometheus: 16090}
services:
  - name: reviews
    port: 9080
    protocol: grpc
    service_port: 80
    address: 10.0.0.4
    listen: 127.0.0.1:9080
    mesh_port: 19080
    inbound: strict
    namespace: shop
    service_account: reviews
    labels: {version: v2}
    weight: 3
    health: {kind: http, path: /up, interval_seconds: 5, timeout_seconds: 2}
  - {name: db.example.net, port: 3306, server_first: true, mesh_port: 13306}
capture:
  enabled: false
  exclude_inbound_ports: [25]
  exclude_outbound_cidrs: [169.254.0.0/16]
  exclude_uids: [0]
  endpoint_cidrs: [10.0.0.0/8]
  on_envoy_down_inbound: closed
dns: "off"
names: {take_over: [reviews.service.consul]}
outbound: {default_identity: shop/reviews}
envoy: {binary: /opt/envoy, concurrency: 4, drain_seconds: 5, stop_seconds: 6, log_level: info}
upstreams:
  - {service: ratings.shop.mesh.internal, port: 80, listen: 127.0.0.1:9081}
"""


def test_three_lines_suffice() -> None:
    assert config_file.parse(THREE_LINES, file="agent.yaml") == AgentConfig(
        control_planes=(Address(host="cp1.example.net", port=15012),),
        services=(ServiceConfig(name="reviews", port=9080, protocol=Protocol.HTTP),),
    )


def test_reads_every_key() -> None:
    config = config_file.parse(EVERYTHING, file="agent.yaml")
    assert [str(address) for address in config.control_planes] == [
        "cp1.example.net:15012",
        "[fd00::1]:15112",
        "10.0.0.9:15012",
    ]
    assert config.enrolment == Address(host="10.0.0.9", port=15013)
    assert config.ports == PortsConfig(
        outbound=16001, inbound=16006, status=16020, readiness=16021, prometheus=16090
    )
    web, database = config.services
    assert (web.dialled_port, web.endpoint_port, web.weight) == (80, 19080, 3)
    assert (web.namespace, web.service_account, web.labels) == (
        "shop",
        "reviews",
        (("version", "v2"),),
    )
    assert (web.inbound, web.listen) == (InboundMode.STRICT, "127.0.0.1:9080")
    assert (web.health.kind, web.health.path) == (CheckKind.HTTP, "/up")
    assert database.server_first
    assert config.capture.on_envoy_down_inbound is OnEnvoyDown.CLOSED
    assert config.capture.endpoint_cidrs == ("10.0.0.0/8",)
    assert config.dns is DnsMode.OFF
    assert config.names.take_over == ("reviews.service.consul",)
    assert config.outbound.default_identity == Identity("shop", "reviews")
    assert (config.envoy.binary, config.envoy.stop_seconds) == ("/opt/envoy", 6.0)
    assert str(config.upstreams[0].listen) == "127.0.0.1:9081"
