"""Outbound listeners: where a captured connection of this host's apps goes.

`virtualOutbound` accepts; a listener on the very address that was dialled takes over where there
is one (a TCP service's virtual address, a registered instance's own), then the port's shared HTTP
listener, else `virtualOutbound` itself. A virtual address never reaches a passthrough.
"""

from collections.abc import Sequence
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2

from hostmesh_controlplane.logic.render import http_connections, tls
from hostmesh_controlplane.logic.render.encoding import (
    address,
    any_address,
    cidr,
    encode,
    own_metadata,
    seconds,
)
from hostmesh_controlplane.logic.render.network_filters import (
    HASHABLE,
    LISTENER_FILTERS_SECONDS,
    http_inspector,
    original_dst,
    outbound_state,
    to_cluster,
)
from hostmesh_controlplane.logic.render.views import (
    CaptureView,
    DirectFacts,
    OutboundView,
    TcpListenerFacts,
)
from hostmesh_core import names

_HTTP_ALPN = ("http/1.0", "http/1.1", "h2c")
_SERVER_NAME = "envoy.network.upstream_server_name"
_SUBJECT_NAMES = "envoy.network.upstream_subject_alt_names"


def virtual_outbound(view: CaptureView) -> bytes:
    """Render the listener that all captured connections arrive at, one port per identity."""
    first, *others = view.ports
    rendered = _listener(names.VIRTUAL_OUTBOUND, any_address(first, view.ipv6))
    rendered.additional_addresses.extend(
        listener_pb2.AdditionalAddress(address=any_address(port, view.ipv6)) for port in others
    )
    rendered.use_original_dst.value = True
    rendered.listener_filters.append(original_dst())
    rendered.filter_chains.extend(_loop_guard(port, first) for port in view.ports)
    rendered.filter_chains.append(_closed_for_virtual_addresses(view))
    rendered.default_filter_chain.CopyFrom(_passthrough())
    return encode(rendered)


def http_listener(view: OutboundView, port: int) -> bytes:
    """Render the listener that all HTTP services of one port share.

    A virtual address that arrives here is an HTTP service's, for those of TCP services have
    listeners of their own: so it needs no proof of being HTTP, and a client that connects early
    and speaks late is not cut off when the inspector gives up.
    """
    where = any_address(port, view.ipv6)
    rendered = _listener(names.outbound_http_listener(port), where, bind=False)
    rendered.listener_filters.append(http_inspector())
    manager = http_connections.outbound(port)
    virtual = {names.DESTINATION_FILTER_STATE: (HASHABLE, names.VIRTUAL_DESTINATION)}
    match = listener_components_pb2.FilterChainMatch(
        transport_protocol="raw_buffer", application_protocols=_HTTP_ALPN
    )
    rendered.filter_chains.extend(
        [
            listener_components_pb2.FilterChain(
                name=f"{rendered.name}-virtual",
                filter_chain_match=_virtual_addresses(view),
                filters=[outbound_state(virtual), manager],
            ),
            listener_components_pb2.FilterChain(
                name=f"{rendered.name}-http",
                filter_chain_match=match,
                filters=[outbound_state(), manager],
            ),
        ]
    )
    rendered.default_filter_chain.CopyFrom(_passthrough())
    return encode(rendered)


def tcp_listener(facts: TcpListenerFacts) -> bytes:
    """Render a TCP port's listener on the service's virtual addresses. It inspects nothing."""
    first, *others = [vip for vip in (facts.vip4, facts.vip6) if vip]
    where = address(first, facts.port)
    rendered = _listener(names.outbound_tcp_listener(first, facts.port), where, bind=False)
    _add_addresses(rendered, [(vip, facts.port) for vip in others])
    rendered.filter_chains.append(
        listener_components_pb2.FilterChain(
            filters=[
                outbound_state(),
                to_cluster(names.outbound_cluster(facts.host, facts.port)),
            ]
        )
    )
    return encode(rendered)


def direct_listener(facts: DirectFacts) -> bytes:
    """Render the listener of a registered instance's own address: mTLS to that very instance.

    One small listener on exactly this address and port, instead of /32 and /128 chains in a
    shared one: an instance that comes or goes costs its 800 bytes and drains nothing, where a
    shared listener would be sent again with all its chains. They share their counters, for a set
    of its own takes 10 KB in Envoy. The metadata tells the agent whose they are and what to
    capture: an instance that is unhealthy is missing from the load assignment, but not from here.
    """
    key = facts.key
    where = address(key.address, key.port)
    rendered = _listener(names.direct_listener(key.address, key.port), where, bind=False)
    rendered.stat_prefix = names.DIRECT_CLUSTER
    accepted = tls.accepted_uris(facts.accepted)
    state = {
        _SERVER_NAME: (_SERVER_NAME, names.sni(facts.host, facts.port)),
        _SUBJECT_NAMES: (_SUBJECT_NAMES, ",".join(accepted)),
    }
    rendered.filter_chains.append(
        listener_components_pb2.FilterChain(
            filters=[outbound_state(state), to_cluster(names.DIRECT_CLUSTER, attempts=1)]
        )
    )
    rendered.metadata.CopyFrom(own_metadata({"host": facts.host, "port": facts.port}))
    return encode(rendered)


def _listener(name: str, where: Any, *, bind: bool = True) -> Any:
    rendered = listener_pb2.Listener(
        name=name,
        address=where,
        traffic_direction=base_pb2.OUTBOUND,
        listener_filters_timeout=seconds(LISTENER_FILTERS_SECONDS),
        continue_on_listener_filters_timeout=True,
    )
    if not bind:
        rendered.bind_to_port.value = False
    return rendered


def _add_addresses(rendered: Any, others: Sequence[tuple[str, int]]) -> None:
    rendered.additional_addresses.extend(
        listener_pb2.AdditionalAddress(address=address(host, port)) for host, port in others
    )


def _virtual_addresses(view: OutboundView) -> Any:
    return listener_components_pb2.FilterChainMatch(
        prefix_ranges=[cidr(view.vip4_range), cidr(view.vip6_range)]
    )


def _loop_guard(port: int, first: int) -> Any:
    """Close what was dialled at Envoy's own port: its original destination is Envoy again."""
    name = names.OUTBOUND_BLACK_HOLE_CHAIN
    if port != first:
        name = f"{name}-{port}"
    match = listener_components_pb2.FilterChainMatch()
    match.destination_port.value = port
    return _closed(name, match)


def _closed_for_virtual_addresses(view: OutboundView) -> Any:
    return _closed(f"{names.OUTBOUND_BLACK_HOLE_CHAIN}-virtual", _virtual_addresses(view))


def _closed(name: str, match: Any) -> Any:
    return listener_components_pb2.FilterChain(
        name=name,
        filter_chain_match=match,
        filters=[outbound_state(), to_cluster(names.BLACK_HOLE_CLUSTER, attempts=1)],
    )


def _passthrough() -> Any:
    return listener_components_pb2.FilterChain(
        name=names.OUTBOUND_CATCH_ALL_CHAIN,
        filters=[outbound_state(), to_cluster(names.PASSTHROUGH_CLUSTER, attempts=1)],
    )
