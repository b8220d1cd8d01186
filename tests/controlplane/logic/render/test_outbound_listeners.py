from dataclasses import replace
from typing import Any

from hostmesh_controlplane.logic.render import outbound_listeners
from hostmesh_controlplane.logic.render.views import (
    CaptureView,
    DirectFacts,
    OutboundView,
    TcpListenerFacts,
)
from hostmesh_core import ports, type_urls
from hostmesh_core.ids import EndpointKey
from hostmesh_testing import golden as golden_files
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.render_reading import message, shown

VIEW = OutboundView("240.240.0.0/16", "fd48:6d65:7368::/64", ipv6=True)
CAPTURE = CaptureView("240.240.0.0/16", "fd48:6d65:7368::/64", ipv6=True, capture_port=15001)
TCP = TcpListenerFacts("db.default.mesh.internal", 5432, "240.240.0.2", "fd48:6d65:7368::2")
DIRECT = DirectFacts(
    "reviews.default.mesh.internal",
    9080,
    EndpointKey.of("fd00::1", 9080),
    (mesh.spiffe("reviews"), mesh.spiffe("reviews2")),
)


def read(body: bytes) -> Any:
    return message(type_urls.LISTENER, body)


def chains(body: bytes) -> list[Any]:
    listener = read(body)
    default = [listener.default_filter_chain] if listener.HasField("default_filter_chain") else []
    return [*listener.filter_chains, *default]


def filters(chain: Any) -> list[Any]:
    return [message(each.typed_config.type_url, each.typed_config.value) for each in chain.filters]


def cluster_of(chain: Any) -> str:
    return str(filters(chain)[-1].cluster)


def test_virtual_outbound(golden: golden_files.type_golden) -> None:
    body = outbound_listeners.virtual_outbound(CAPTURE)
    listener = read(body)
    captured = [each.address.socket_address.port_value for each in listener.additional_addresses]
    assert captured == list(ports.IDENTITY_POOL)
    guards = [chain for chain in listener.filter_chains if cluster_of(chain) == "BlackHoleCluster"]
    guarded = {chain.filter_chain_match.destination_port.value for chain in guards}
    assert guarded == {0, ports.OUTBOUND_CAPTURE, *ports.IDENTITY_POOL}  # 0: the virtual ranges
    del listener.additional_addresses[1:]
    del listener.filter_chains[1:-1]
    golden("virtual-outbound.yaml", shown(type_urls.LISTENER, listener.SerializeToString()))


def test_the_listener_of_an_http_port(golden: golden_files.type_golden) -> None:
    body = outbound_listeners.http_listener(VIEW, 9080)
    golden("outbound-http.yaml", shown(type_urls.LISTENER, body))


def test_the_listener_of_a_tcp_service(golden: golden_files.type_golden) -> None:
    golden("outbound-tcp.yaml", shown(type_urls.LISTENER, outbound_listeners.tcp_listener(TCP)))


def test_the_listener_of_a_registered_instance(golden: golden_files.type_golden) -> None:
    body = outbound_listeners.direct_listener(DIRECT)
    golden("outbound-direct.yaml", shown(type_urls.LISTENER, body))
    assert len(body) < 900


def test_every_chain_first_says_whose_connection_it_is() -> None:
    listeners = (
        outbound_listeners.virtual_outbound(CAPTURE),
        outbound_listeners.http_listener(VIEW, 9080),
        outbound_listeners.tcp_listener(TCP),
        outbound_listeners.direct_listener(DIRECT),
    )
    for body in listeners:
        for chain in chains(body):
            first = filters(chain)[0].on_new_connection[0]
            assert first.object_key == "hostmesh.identity"
            assert first.factory_key == "envoy.hashable_string"
            assert first.SharedWithUpstream.Name(first.shared_with_upstream) == "ONCE"
            text = first.format_string.text_format_source.inline_string
            assert text == "%DOWNSTREAM_DIRECT_LOCAL_PORT%"


def test_a_virtual_address_never_reaches_the_passthrough() -> None:
    for body in (
        outbound_listeners.virtual_outbound(CAPTURE),
        outbound_listeners.http_listener(VIEW, 9080),
    ):
        (virtual,) = [each for each in chains(body) if each.filter_chain_match.prefix_ranges]
        assert [
            (each.address_prefix, each.prefix_len.value)
            for each in virtual.filter_chain_match.prefix_ranges
        ] == [("240.240.0.0", 16), ("fd48:6d65:7368::", 64)]
        last = filters(virtual)[-1]
        assert "Passthrough" not in str(last)
        # With no further condition nothing that goes there can fall through to the default.
        assert not virtual.filter_chain_match.application_protocols
        assert not virtual.filter_chain_match.transport_protocol


def test_a_host_without_ipv6_binds_ipv4() -> None:
    view = replace(CAPTURE, ipv6=False)
    address = read(outbound_listeners.virtual_outbound(view)).address.socket_address
    assert (address.address, address.ipv4_compat) == ("0.0.0.0", False)


def test_a_tcp_service_with_one_virtual_address_has_one_address() -> None:
    six = TcpListenerFacts(TCP.host, TCP.port, "", TCP.vip6)
    listener = read(outbound_listeners.tcp_listener(six))
    assert listener.name == "fd48:6d65:7368::2_5432"
    assert not listener.additional_addresses


def test_another_instance_has_a_port_of_its_own_and_no_pool() -> None:
    listener = read(outbound_listeners.virtual_outbound(replace(CAPTURE, capture_port=16001)))
    assert listener.address.socket_address.port_value == 16001
    assert not listener.additional_addresses
    guarded = [chain.filter_chain_match.destination_port.value for chain in listener.filter_chains]
    assert guarded == [16001, 0]
