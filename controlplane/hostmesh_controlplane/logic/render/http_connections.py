"""HTTP connection managers: one for what leaves this host, one for what comes in.

What they share is what makes a proxy that apps do not notice: HTTP/1.0 and WebSocket pass, no
timeout is added, the app's own Server header stays.
"""

from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from hostmesh_controlplane.logic.render import http_filters
from hostmesh_controlplane.logic.render.encoding import ads, seconds
from hostmesh_controlplane.logic.render.network_filters import network_filter
from hostmesh_core import names

Hcm = hcm_pb2.HttpConnectionManager


def outbound(port: int) -> Any:
    """Give the filter for requests of this host's apps to a port of the mesh."""
    manager = _manager(
        stat_prefix=names.outbound_http_listener(port),
        route=names.outbound_route(port),
        direction=http_filters.OUTBOUND,
    )
    return network_filter("envoy.filters.network.http_connection_manager", manager)


def inbound(port: int, *, host: str) -> Any:
    """Give the filter for requests to this host's app.

    The peer's SPIFFE id is appended to x-forwarded-client-cert. `host` stands in where an HTTP/1.0
    client names none, as health checkers do.
    """
    manager = _manager(
        stat_prefix=f"inbound_{port}",
        route=names.inbound_route(port),
        direction=http_filters.INBOUND,
    )
    manager.http_protocol_options.default_host_for_http_10 = host
    manager.forward_client_cert_details = Hcm.APPEND_FORWARD
    details = manager.set_current_client_cert_details
    details.subject.value = True
    details.dns = True
    details.uri = True
    manager.local_reply_config.mappers.append(_undelivered())
    # What is decided about a path must be decided about the path that the app gets.
    manager.normalize_path.value = True
    return network_filter("envoy.filters.network.http_connection_manager", manager)


def _manager(*, stat_prefix: str, route: str, direction: str) -> Any:
    manager = Hcm(
        codec_type=Hcm.AUTO,
        stat_prefix=stat_prefix,
        http_filters=http_filters.slots(direction),
        stream_idle_timeout=seconds(0),
        server_header_transformation=Hcm.PASS_THROUGH,
        upgrade_configs=[Hcm.UpgradeConfig(upgrade_type="websocket")],
    )
    manager.rds.route_config_name = route
    manager.rds.config_source.CopyFrom(ads(wait_for_ever=True))
    manager.use_remote_address.value = False
    manager.http_protocol_options.accept_http_10 = True
    return manager


def _undelivered() -> Any:
    """Mark the answers that say: the app never saw this request, so it may be repeated."""
    flags = accesslog_pb2.ResponseFlagFilter(flags=["UF", "UH"])
    mark = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=names.UNDELIVERED_HEADER, value="1"),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return hcm_pb2.ResponseMapper(
        filter=accesslog_pb2.AccessLogFilter(response_flag_filter=flags), headers_to_add=[mark]
    )
