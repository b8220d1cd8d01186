"""What a host accepts for its own apps: chains, clusters and routes of its declared ports.

The matrix is Istio's (istio-translation.md A.3) but for PERMISSIVE HTTP: there every TLS
connection is the mesh's, whatever ALPN it offers. TLS on a port that its app declared as plain
HTTP can be nothing else, and a gRPC library with a mesh certificate offers only `h2`.

The listener-level fields are the same for every host and never change while an Envoy lives: a
change of one would drain each inbound connection (measured). What no chain matches is closed, so
an undeclared port is never forwarded.
"""

import ipaddress
from collections.abc import Sequence
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from hostmesh_controlplane.logic.render import callers, http_connections, tls, unchanged
from hostmesh_controlplane.logic.render.clusters import HTTP_OPTIONS, unlimited
from hostmesh_controlplane.logic.render.encoding import (
    address,
    any_address,
    encode,
    extension,
    packed,
    seconds,
)
from hostmesh_controlplane.logic.render.network_filters import (
    discovered_policy,
    filter_state,
    original_dst,
    tls_inspector,
    to_app,
    to_cluster,
)
from hostmesh_controlplane.logic.render.views import (
    InboundPortView,
    InboundView,
    is_uninspected,
)
from hostmesh_core import names
from hostmesh_core.model import InboundMode, Protocol

_SOURCES = ("127.0.0.6", "::6")
"""Where connections to the app come from, so that the rules do not send them back to Envoy."""
_ORIGINAL_DST = "envoy.network.transport_socket.original_dst_address"
_HELLO_SECONDS = 5.0
"""How long a caller's first bytes tell TLS from plaintext: as long as a mesh peer tries to connect.

A peer on a starved machine begins its handshake late. Taken for a caller without a mesh, it is
answered in plaintext, and tries again: at 1 s, hosts that had stood still for 15 s went on
refusing each other for as long as the load lasted, a minute and more (seen).
"""
_HANDSHAKE_SECONDS = 10
"""A caller without a mesh that waits for the server's first bytes would wait for ever."""
_FOR_EVER_SECONDS = 31_536_000
"""A year: Envoy looks for idle destinations this often, and each one is this host itself."""
_CONNECT_SECONDS = 10
_IDLE_SECONDS = 1.5
"""Shorter than any server's keep-alive (gunicorn's 2 s), so that no app ends a connection just as
a request goes out on it: that request would be lost. A new connection on one host costs little."""


def virtual_inbound(view: InboundView) -> bytes:
    """Render the listener that all captured inbound connections arrive at."""
    where = any_address(view.capture_port, view.ipv6)
    rendered = _listener(names.VIRTUAL_INBOUND, where, view.uninspected)
    rendered.listener_filters.insert(0, original_dst())
    rendered.filter_chains.append(_loop_guard(view.capture_port))
    for port in view.ports:
        if not port.port.mesh_port:
            rendered.filter_chains.extend(chains(port, port.port.workload_port))
    return encode(rendered)


def mesh_port_listener(view: InboundPortView) -> bytes:
    """Render the listener of a port that Envoy binds itself: no rule sends anything to it."""
    uninspected = (view.port.mesh_port,) if is_uninspected(view.port) else ()
    where = any_address(view.port.mesh_port, view.ipv6)
    rendered = _listener(names.mesh_port_listener(view.port.mesh_port), where, uninspected)
    rendered.filter_chains.extend(chains(view, 0))
    return encode(rendered)


def chains(view: InboundPortView, destination_port: int) -> list[Any]:
    """Give the port's filter chains; `destination_port` 0 = the listener is this port's alone."""
    found = []
    for name, match, mtls in _matches(view):
        chain = listener_components_pb2.FilterChain(
            name=names.inbound_chain(view.port.workload_port, name),
            filter_chain_match=match,
            filters=_filters(view, mtls=mtls),
        )
        if destination_port:
            chain.filter_chain_match.destination_port.value = destination_port
        if mtls:
            chain.transport_socket.CopyFrom(_socket(view))
            chain.transport_socket_connect_timeout.CopyFrom(seconds(_HANDSHAKE_SECONDS))
        found.append(chain)
    return found


def cluster(view: InboundPortView) -> bytes:
    """Render the cluster that leads to the app."""
    port = view.port
    rendered = cluster_pb2.Cluster(
        name=names.inbound_cluster(port.workload_port),
        connect_timeout=seconds(_CONNECT_SECONDS),
        circuit_breakers=unlimited(),
    )
    if port.listen is not None:
        _lead_to(rendered, *port.listen)
    else:
        _lead_where_it_was_going(rendered, port.workload_port if port.mesh_port else 0)
    if _would_come_back(view):
        _mark(rendered)
    if port.protocol.is_http:
        options = _http_options(port.protocol)
        rendered.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(packed(options))
    return encode(rendered)


def _would_come_back(view: InboundPortView) -> bool:
    """Tell whether the rules would send Envoy's connection to the app back to Envoy.

    The port of an app with a mesh_port is not captured: there the app sees this host's own address,
    which grants by network (MariaDB's, `pg_hba.conf`) let in like a caller's.
    """
    listen = view.port.listen
    on_loopback = listen is not None and ipaddress.ip_address(listen[0]).is_loopback
    return view.captured and not view.port.mesh_port and not on_loopback


def route_configuration(view: InboundPortView) -> bytes:
    """Render the routes of an HTTP port. Policy will come here, never by a listener."""
    port = view.port
    name = names.inbound_route(port.workload_port)
    route = route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix="/"))
    route.route.cluster = names.inbound_cluster(port.workload_port)
    route.route.timeout.SetInParent()
    route.route.max_stream_duration.max_stream_duration.SetInParent()
    if port.protocol is not Protocol.GRPC:
        route.route.retry_policy.retry_on = "reset-before-request"
        route.route.retry_policy.num_retries.value = 2
    host = route_components_pb2.VirtualHost(name=name, domains=["*"], routes=[route])
    rendered = route_pb2.RouteConfiguration(
        name=name,
        virtual_hosts=[host],
        # An app must not be able to say of itself that it never saw a request.
        response_headers_to_remove=[names.UNDELIVERED_HEADER],
    )
    rendered.validate_clusters.value = False
    return encode(rendered)


def tcp_policy(view: InboundPortView) -> bytes:
    """Render what the policy filter of a TCP port says: nothing yet, so everybody may come.

    It exists from the start because a filter that came later would change the chain, and a
    changed chain drains its connections.
    """
    name = names.inbound_tcp_policy(view.port.workload_port)
    rules = rbac_pb2.RBAC(stat_prefix=f"inbound_{view.port.workload_port}.")
    return encode(extension(name, rules))


def _listener(name: str, where: Any, uninspected: Sequence[int]) -> Any:
    # No chain asks whether it is HTTP: a caller would wait until its first line is whole.
    inspector = tls_inspector()
    if uninspected:
        inspector.filter_disabled.CopyFrom(_any_port(uninspected))
    return listener_pb2.Listener(
        name=name,
        address=where,
        traffic_direction=base_pb2.INBOUND,
        listener_filters=[inspector],
        listener_filters_timeout=seconds(_HELLO_SECONDS),
        continue_on_listener_filters_timeout=True,
    )


def _any_port(numbers: Sequence[int]) -> Any:
    predicate = listener_components_pb2.ListenerFilterChainMatchPredicate
    rules = []
    for number in numbers:
        rule = predicate()
        rule.destination_port_range.start = number
        rule.destination_port_range.end = number + 1
        rules.append(rule)
    if len(rules) == 1:
        return rules[0]
    return predicate(or_match=predicate.MatchSet(rules=rules))


def _loop_guard(port: int) -> Any:
    match = listener_components_pb2.FilterChainMatch()
    match.destination_port.value = port
    return listener_components_pb2.FilterChain(
        name=names.INBOUND_BLACK_HOLE_CHAIN,
        filter_chain_match=match,
        filters=[to_cluster(names.BLACK_HOLE_CLUSTER, attempts=1)],
    )


def _matches(view: InboundPortView) -> list[tuple[str, Any, bool]]:
    """Give the port's row of the matrix: chain name, match, whether mTLS is terminated."""
    port = view.port
    if is_uninspected(port):
        # Nothing was inspected, so nothing is known but the port.
        return [("any", _match(), port.mode is InboundMode.STRICT)]
    raw = ("plaintext", _match("raw_buffer"), False)
    http = port.protocol.is_http
    # The same chain in both modes, so that a change of mode drains no connection of the mesh's.
    mesh = ("mtls", _match("tls") if http else _match("tls", *tls.MESH_ALPN), True)
    match port.mode:
        case InboundMode.STRICT:
            return [mesh] if http else [mesh, ("any-tls", _match("tls"), True)]
        case InboundMode.DISABLE:
            return [raw]
        case InboundMode.PERMISSIVE:
            return [mesh, raw] if http else [mesh, ("app-tls", _match("tls"), False), raw]


def _match(transport: str = "", *alpn: str) -> Any:
    return listener_components_pb2.FilterChainMatch(
        transport_protocol=transport, application_protocols=alpn
    )


def _filters(view: InboundPortView, *, mtls: bool) -> list[Any]:
    port = view.port
    counting = callers.loggers(
        port.workload_port,
        mtls=mtls,
        http=port.protocol.is_http,
        inspected=not is_uninspected(port),
    )
    leading = [_remember_destination()] if port.mesh_port and port.listen is None else []
    if port.protocol.is_http:
        requests = http_connections.inbound(
            port.workload_port, host=port.service, access_log=counting
        )
        return [*leading, requests]
    app = to_app(names.inbound_cluster(port.workload_port), access_log=counting)
    return [*leading, discovered_policy(names.inbound_tcp_policy(port.workload_port)), app]


def _remember_destination() -> Any:
    """Keep the address that the caller dialled: nothing was redirected, so Envoy does not."""
    return filter_state({_ORIGINAL_DST: (_ORIGINAL_DST, "%DOWNSTREAM_LOCAL_ADDRESS%")})


def _socket(view: InboundPortView) -> Any:
    return tls.server_socket(
        identity=view.port.identity,
        trust_domain=view.trust_domain,
        accepted=view.accepted,
        http=view.port.protocol.is_http,
    )


def _lead_to(rendered: Any, host: str, port: int) -> None:
    rendered.type = cluster_pb2.Cluster.STATIC
    endpoint = endpoint_components_pb2.Endpoint(address=address(host, port))
    locality = endpoint_components_pb2.LocalityLbEndpoints(
        lb_endpoints=[endpoint_components_pb2.LbEndpoint(endpoint=endpoint)]
    )
    rendered.load_assignment.cluster_name = rendered.name
    rendered.load_assignment.endpoints.append(locality)


def _lead_where_it_was_going(rendered: Any, port_instead: int) -> None:
    rendered.type = cluster_pb2.Cluster.ORIGINAL_DST
    rendered.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED
    rendered.cleanup_interval.CopyFrom(seconds(_FOR_EVER_SECONDS))
    if port_instead:
        rendered.original_dst_lb_config.upstream_port_override.value = port_instead


def _mark(rendered: Any) -> None:
    """Bind the source that the rules let through. `::6` is on lo only where there are rules."""
    first, second = _SOURCES
    bind = rendered.upstream_bind_config
    bind.source_address.address = first
    bind.source_address.port_value = 0
    bind.extra_source_addresses.add().address.address = second
    bind.extra_source_addresses[0].address.port_value = 0


def _http_options(protocol: Protocol) -> Any:
    """Speak to the app as the caller does, where the declaration leaves it open.

    An app on an `http` port may know h2c too and was reachable by it before it joined.
    """
    options = http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options=unchanged.limits(of_answers=True)
    )
    options.common_http_protocol_options.idle_timeout.CopyFrom(seconds(_IDLE_SECONDS))
    if protocol is Protocol.HTTP:
        options.use_downstream_protocol_config.http_protocol_options.CopyFrom(unchanged.http1())
        options.use_downstream_protocol_config.http2_protocol_options.SetInParent()
    else:
        options.explicit_http_config.http2_protocol_options.SetInParent()
    return options
