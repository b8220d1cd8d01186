from typing import Any

import pytest
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from hostmesh_controlplane.logic.render import inbound
from hostmesh_controlplane.logic.render.clusters import HTTP_OPTIONS
from hostmesh_controlplane.logic.render.views import InboundPortView, InboundView
from hostmesh_controlplane.logic.scope import InboundPort
from hostmesh_core import type_urls
from hostmesh_core.model import InboundMode, Protocol
from hostmesh_testing import golden as golden_files
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.render_reading import message, shown


def view(*ports: InboundPort) -> InboundView:
    return InboundView(InboundPortView.all_of(mesh.inbound(*ports)), ipv6=True, capture_port=15006)


def one(port: InboundPort) -> InboundPortView:
    return view(port).ports[0]


def rows(port: InboundPort) -> list[str]:
    """Each chain of the port in one line: what it matches, and what it does."""
    found = []
    for chain in inbound.chains(one(port), port.workload_port):
        match = chain.filter_chain_match
        alpn = "+[" + ",".join(match.application_protocols) + "]"
        what = (match.transport_protocol or "any") + (alpn if len(alpn) > 3 else "")
        http = chain.filters[-1].name.endswith("http_connection_manager")
        mtls = "(M)" if chain.HasField("transport_socket") else ""
        found.append(f"{what} -> {'HCM' if http else 'tcp'}{mtls}")
    return found


MESH_ALPN = "tls+[istio,istio-peer-exchange,istio-http/1.0,istio-http/1.1,istio-h2]"
MATRIX = {
    (InboundMode.STRICT, "http"): ["tls -> HCM(M)"],
    (InboundMode.STRICT, "tcp"): [f"{MESH_ALPN} -> tcp(M)", "tls -> tcp(M)"],
    # Istio asks for its ALPN here too; a gRPC library with a mesh certificate offers only h2.
    (InboundMode.PERMISSIVE, "http"): ["tls -> HCM(M)", "raw_buffer -> HCM"],
    (InboundMode.PERMISSIVE, "tcp"): [
        f"{MESH_ALPN} -> tcp(M)",
        "tls -> tcp",
        "raw_buffer -> tcp",
    ],
    (InboundMode.DISABLE, "http"): ["raw_buffer -> HCM"],
    (InboundMode.DISABLE, "tcp"): ["raw_buffer -> tcp"],
}


@pytest.mark.parametrize("mode", list(InboundMode))
@pytest.mark.parametrize("protocol", list(Protocol))
def test_the_matrix(mode: InboundMode, protocol: Protocol) -> None:
    kind = "http" if protocol.is_http else "tcp"
    assert rows(mesh.inbound_port(9080, mode=mode, protocol=protocol)) == MATRIX[mode, kind]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (InboundMode.STRICT, ["any -> tcp(M)"]),
        (InboundMode.DISABLE, ["any -> tcp"]),
        (InboundMode.PERMISSIVE, MATRIX[InboundMode.PERMISSIVE, "tcp"]),
    ],
)
def test_a_server_first_port_is_known_by_its_number_alone(
    mode: InboundMode, expected: list[str]
) -> None:
    port = mesh.inbound_port(3306, mode=mode, protocol=Protocol.TCP, server_first=True)
    assert rows(port) == expected
    uninspected = view(port).uninspected
    assert uninspected == (() if mode is InboundMode.PERMISSIVE else (3306,))


def test_virtual_inbound(golden: golden_files.type_golden) -> None:
    ports = (
        mesh.inbound_port(9080),
        mesh.inbound_port(5432, protocol=Protocol.TCP),
        mesh.inbound_port(3306, protocol=Protocol.TCP, mode=InboundMode.STRICT, server_first=True),
        mesh.inbound_port(3307, protocol=Protocol.TCP, mode=InboundMode.DISABLE, server_first=True),
    )
    body = inbound.virtual_inbound(view(*ports))
    golden("virtual-inbound.yaml", shown(type_urls.LISTENER, body))


def test_what_leads_to_the_app(golden: golden_files.type_golden) -> None:
    ports = (
        mesh.inbound_port(9080),
        mesh.inbound_port(50051, protocol=Protocol.GRPC, listen=("127.0.0.1", 50051)),
        mesh.inbound_port(8080, mesh_port=7000),
        mesh.inbound_port(5432, protocol=Protocol.TCP),
    )
    texts = [shown(type_urls.CLUSTER, inbound.cluster(one(port))) for port in ports]
    texts += [shown(type_urls.ROUTE, inbound.route_configuration(one(ports[n]))) for n in (0, 1)]
    texts.append(shown(type_urls.EXTENSION_CONFIG, inbound.tcp_policy(one(ports[3]))))
    golden("inbound-app.yaml", "---\n".join(texts))


def listener_level(body: bytes) -> Any:
    listener = message(type_urls.LISTENER, body)
    del listener.filter_chains[:]
    return listener


def test_the_listener_itself_is_the_same_whatever_the_ports_are() -> None:
    empty = listener_level(inbound.virtual_inbound(view()))
    for mode in InboundMode:
        for protocol in Protocol:
            port = mesh.inbound_port(9080, mode=mode, protocol=protocol)
            assert listener_level(inbound.virtual_inbound(view(port))) == empty


def test_one_more_port_leaves_the_others_chains_alone() -> None:
    few = message(type_urls.LISTENER, inbound.virtual_inbound(view(mesh.inbound_port(9080))))
    more = message(
        type_urls.LISTENER,
        inbound.virtual_inbound(view(mesh.inbound_port(9080), mesh.inbound_port(80))),
    )
    kept = {chain.name: chain for chain in more.filter_chains}
    assert all(kept[chain.name] == chain for chain in few.filter_chains)


@pytest.mark.parametrize("protocol", list(Protocol))
def test_strict_leaves_the_meshs_own_chain_as_it_was(protocol: Protocol) -> None:
    found = []
    for mode in (InboundMode.PERMISSIVE, InboundMode.STRICT):
        port = mesh.inbound_port(9080, mode=mode, protocol=protocol)
        chains = inbound.chains(one(port), 9080)
        found.append(next(chain for chain in chains if chain.name == "inbound|9080|mtls"))
    assert found[0] == found[1]


def test_undeclared_ports_and_envoys_own_are_closed() -> None:
    listener = message(type_urls.LISTENER, inbound.virtual_inbound(view()))
    assert not listener.HasField("default_filter_chain")
    (guard,) = listener.filter_chains
    assert guard.filter_chain_match.destination_port.value == 15006


def test_a_captured_listener_hands_nothing_over_to_outbound_ones() -> None:
    listener = message(type_urls.LISTENER, inbound.virtual_inbound(view()))
    assert not listener.use_original_dst.value


def test_a_mesh_port_remembers_where_the_caller_went(golden: golden_files.type_golden) -> None:
    body = inbound.mesh_port_listener(
        one(mesh.inbound_port(5432, protocol=Protocol.TCP, mesh_port=7000))
    )
    golden("mesh-port.yaml", shown(type_urls.LISTENER, body))


def test_a_mesh_port_with_a_stated_app_needs_no_memory() -> None:
    port = mesh.inbound_port(5432, mesh_port=7000, listen=("127.0.0.1", 5432))
    body = inbound.mesh_port_listener(one(port))
    assert b"original_dst_address" not in body


def test_nothing_is_added_to_how_long_an_app_may_take() -> None:
    port = one(mesh.inbound_port(9080))
    found = message(type_urls.ROUTE, inbound.route_configuration(port))
    (route,) = found.virtual_hosts[0].routes
    assert route.route.HasField("timeout")
    assert route.route.timeout.ToNanoseconds() == 0
    assert route.route.max_stream_duration.max_stream_duration.ToNanoseconds() == 0


def test_envoy_ends_an_idle_connection_to_an_app_before_the_app_does() -> None:
    found = message(type_urls.CLUSTER, inbound.cluster(one(mesh.inbound_port(9080))))
    options = http_protocol_options_pb2.HttpProtocolOptions()
    found.typed_extension_protocol_options[HTTP_OPTIONS].Unpack(options)
    assert options.common_http_protocol_options.idle_timeout.ToTimedelta().total_seconds() < 2


@pytest.mark.parametrize(
    ("changes", "marked"),
    [
        pytest.param({}, True, id="captured: the rules must let it through to the app"),
        pytest.param({"listen": ("10.0.0.7", 5432)}, True, id="the host's own address too"),
        pytest.param({"listen": ("127.0.0.1", 5432)}, False, id="no rule is about loopback"),
        pytest.param({"listen": ("::1", 5432)}, False, id="nor about its IPv6 form"),
        pytest.param({"mesh_port": 7000}, False, id="a port that no rule captures"),
        pytest.param({"mesh_port": 7000, "listen": ("10.0.0.7", 5432)}, False, id="wherever it is"),
    ],
)
def test_a_connection_to_the_app_is_marked_where_it_would_come_back(
    changes: dict[str, Any],
    marked: bool,  # noqa: FBT001 - a column of the table
) -> None:
    port = one(mesh.inbound_port(5432, protocol=Protocol.TCP, **changes))
    found = message(type_urls.CLUSTER, inbound.cluster(port))
    assert found.HasField("upstream_bind_config") is marked


def test_who_never_begins_a_handshake_is_not_waited_for() -> None:
    port = mesh.inbound_port(3306, protocol=Protocol.TCP, mode=InboundMode.STRICT)
    for chain in inbound.chains(one(port), 3306):
        assert chain.transport_socket_connect_timeout.seconds == 10


def test_a_caller_is_looked_at_for_tls_and_for_nothing_else() -> None:
    """To tell HTTP, Envoy would wait for a whole first line, or for the second that it may."""
    found = message(type_urls.LISTENER, inbound.virtual_inbound(view(mesh.inbound_port(9080))))
    names = [each.name.rpartition(".")[2] for each in found.listener_filters]
    assert names == ["original_dst", "tls_inspector"]
