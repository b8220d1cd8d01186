from dataclasses import replace
from typing import Any

import pytest

from hostmesh_controlplane.logic.render import clusters
from hostmesh_controlplane.logic.render.views import ClusterFacts, ClusterView
from hostmesh_controlplane.logic.scope import Scope
from hostmesh_core import type_urls
from hostmesh_core.model import Protocol, ServiceState
from hostmesh_testing import golden as golden_files
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.render_reading import message, shown


def rendered(
    state: ServiceState, *, protocol: Protocol = Protocol.HTTP, scope: Scope = mesh.SCOPE, **of: Any
) -> bytes:
    facts = ClusterFacts.of(mesh.service("reviews", state=state, **of), 9080, protocol)
    return clusters.cluster(ClusterView.of(scope, facts), facts)


def read(body: bytes) -> Any:
    return message(type_urls.CLUSTER, body)


def sockets(body: bytes) -> dict[str, str]:
    """Name -> kind of socket."""
    return {
        each.name: each.transport_socket.name.rpartition(".")[2]
        for each in read(body).transport_socket_matches
    }


@pytest.mark.parametrize("state", list(ServiceState))
def test_the_cluster_of_each_state(state: ServiceState, golden: golden_files.type_golden) -> None:
    golden(f"cluster-{state}.yaml", shown(type_urls.CLUSTER, rendered(state)))


def test_two_identities(golden: golden_files.type_golden) -> None:
    body = rendered(ServiceState.MIXED, scope=mesh.TWO_IDENTITIES)
    golden("cluster-two-identities.yaml", shown(type_urls.CLUSTER, body))


def test_state_mesh_has_no_socket_without_tls() -> None:
    for scope in (mesh.SCOPE, mesh.TWO_IDENTITIES):
        assert set(sockets(rendered(ServiceState.MESH, scope=scope)).values()) == {"tls"}
    alone = read(rendered(ServiceState.MESH, scope=mesh.NO_IDENTITY))
    assert alone.transport_socket.name == "envoy.transport_sockets.tls"


@pytest.mark.parametrize("scope", [mesh.SCOPE, mesh.TWO_IDENTITIES, mesh.NO_IDENTITY])
def test_in_state_mixed_what_states_no_mode_gets_tls_without_a_certificate(scope: Scope) -> None:
    body = rendered(ServiceState.MIXED, scope=scope)
    default = read(body).transport_socket_matcher.on_no_match.action.name
    assert default == "tlsMode-istio:no-identity"
    assert sockets(body)[default] == "tls"
    (nobody,) = [each for each in read(body).transport_socket_matches if each.name == default]
    context = message(
        nobody.transport_socket.typed_config.type_url, nobody.transport_socket.typed_config.value
    )
    assert not context.common_tls_context.tls_certificate_sds_secret_configs


def test_a_service_whose_identities_are_unknown_is_reached_by_nobody() -> None:
    text = shown(type_urls.CLUSTER, rendered(ServiceState.MESH, identities=()))
    assert "exact: spiffe://nobody.invalid/nobody" in text


@pytest.mark.parametrize(
    ("protocol", "alpn", "explicit"),
    [
        (Protocol.HTTP, ["istio-http/1.1", "http/1.1"], "http_protocol_options"),
        (Protocol.HTTP2, ["istio-h2", "h2"], "http2_protocol_options"),
        (Protocol.GRPC, ["istio-h2", "h2"], "http2_protocol_options"),
        (Protocol.TCP, ["istio"], ""),
        (Protocol.HTTPS, ["istio"], ""),
    ],
)
def test_alpn_and_upstream_protocol_go_together(
    protocol: Protocol, alpn: list[str], explicit: str
) -> None:
    cluster = read(rendered(ServiceState.MESH, protocol=protocol))
    socket = cluster.transport_socket_matches[0].transport_socket.typed_config
    context = message(socket.type_url, socket.value)
    assert list(context.common_tls_context.alpn_protocols) == alpn
    options = cluster.typed_extension_protocol_options
    assert bool(options) == bool(explicit)
    for each in options.values():
        config = message(each.type_url, each.value).explicit_http_config
        assert config.WhichOneof("protocol_config") == explicit


def test_only_a_mixed_services_http_connections_end_by_age() -> None:
    ages = {state: "max_connection_duration" in shown(type_urls.CLUSTER, rendered(state))
            for state in ServiceState}  # fmt: skip
    assert ages == {
        ServiceState.PLAIN: False,
        ServiceState.MIXED: True,
        ServiceState.MESH: False,
    }


def test_the_metadata_names_what_the_agent_needs() -> None:
    block = read(rendered(ServiceState.MESH)).metadata.filter_metadata["hostmesh"]
    assert list(block["names"]) == [
        "reviews.default.mesh.internal",
        "reviews.service.consul",
        "reviews",
    ]
    assert (block["vip4"], block["vip6"]) == ("240.240.0.1", "fd48:6d65:7368::1")
    assert (block["host"], block["port"]) == ("reviews.default.mesh.internal", 9080)
    assert block["protocol"] == "http"


def test_a_short_name_is_not_told_to_other_namespaces() -> None:
    scope = replace(mesh.SCOPE, namespace="elsewhere")
    block = read(rendered(ServiceState.MESH, scope=scope)).metadata.filter_metadata["hostmesh"]
    assert list(block["names"]) == ["reviews.default.mesh.internal", "reviews.service.consul"]
