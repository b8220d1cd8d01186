"""Upstreams (explicit mode): listeners that Envoy binds for apps that nothing captures.

Each leads to one service, whatever Host a request names. The connection never saw a capture port,
so it states the host's own: it speaks as the host's default identity.
"""

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2

from hostmesh_controlplane.logic.render import http_connections, routes
from hostmesh_controlplane.logic.render.encoding import address, encode
from hostmesh_controlplane.logic.render.network_filters import outbound_state, to_cluster
from hostmesh_controlplane.logic.render.views import (
    UpstreamView,
    VirtualHostFacts,
    VirtualHostView,
)
from hostmesh_core import names


def listener(view: UpstreamView) -> bytes:
    """Render the listener of an upstream. It inspects nothing: where it leads is known."""
    upstream = view.upstream
    name = names.upstream(upstream.listen, upstream.listen_port)
    if upstream.protocol.is_http:
        leading = http_connections.upstream(name)
    else:
        leading = to_cluster(names.outbound_cluster(upstream.service, upstream.service_port))
    chain = listener_components_pb2.FilterChain(
        filters=[outbound_state(capture_port=view.capture_port), leading]
    )
    return encode(
        listener_pb2.Listener(
            name=name,
            address=address(upstream.listen, upstream.listen_port),
            traffic_direction=base_pb2.OUTBOUND,
            filter_chains=[chain],
        )
    )


def route_configuration(view: UpstreamView) -> bytes:
    """Render the routes of an HTTP upstream: as any request to the service is routed."""
    upstream = view.upstream
    facts = VirtualHostFacts(
        host=upstream.service,
        namespace="",
        port=upstream.service_port,
        meshed=False,
        vip4="",
        vip6="",
        aliases=(),
        short_name="",
    )
    every_host = VirtualHostView(("*",), anonymous=False, capture_port=0)
    return routes.upstream_configuration(
        names.upstream(upstream.listen, upstream.listen_port),
        routes.virtual_host(every_host, facts),
    )
