"""HTTP connection managers: one for what leaves this host, one for what comes in.

What they share is what makes a proxy that apps do not notice: HTTP/1.0 and WebSocket pass, no
timeout is added, the app's own Server header stays.
"""

from collections.abc import Sequence
from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from hostmesh_controlplane.logic.render import http_filters, unchanged
from hostmesh_controlplane.logic.render.encoding import ads, seconds
from hostmesh_controlplane.logic.render.network_filters import network_filter
from hostmesh_controlplane.logic.render.routes import HARMLESS_METHODS
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


def upstream(name: str) -> Any:
    """Give the filter for requests that an app makes to an upstream's listener of this name."""
    manager = _manager(stat_prefix=name, route=name, direction=http_filters.OUTBOUND)
    return network_filter("envoy.filters.network.http_connection_manager", manager)


def inbound(port: int, *, host: str, access_log: Sequence[Any] = ()) -> Any:
    """Give the filter for requests to this host's app.

    The peer's SPIFFE id is appended to x-forwarded-client-cert. `host` stands in where an HTTP/1.0
    client names none, as health checkers do. `access_log` is told of each request as it begins.
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
    manager.local_reply_config.mappers.extend(_repeatable())
    # What is decided about a path must be decided about the path that the app gets.
    manager.normalize_path.value = True
    manager.access_log.extend(access_log)
    manager.access_log_options.flush_access_log_on_new_request = True
    return network_filter("envoy.filters.network.http_connection_manager", manager)


def _manager(*, stat_prefix: str, route: str, direction: str) -> Any:
    manager = Hcm(
        codec_type=Hcm.AUTO,
        stat_prefix=stat_prefix,
        http_filters=http_filters.slots(direction),
        stream_idle_timeout=seconds(0),
        server_header_transformation=Hcm.PASS_THROUGH,
        upgrade_configs=[Hcm.UpgradeConfig(upgrade_type=kind) for kind in unchanged.UPGRADES],
        http_protocol_options=unchanged.http1(),
        common_http_protocol_options=unchanged.limits(),
        proxy_100_continue=True,
        preserve_external_request_id=True,
    )
    manager.max_request_headers_kb.value = unchanged.HEADERS_KIB
    manager.generate_request_id.value = False
    manager.rds.route_config_name = route
    manager.rds.config_source.CopyFrom(ads(wait_for_ever=True))
    manager.use_remote_address.value = False
    return manager


def _repeatable() -> list[Any]:
    """Mark the answers after which the caller's Envoy may repeat the request elsewhere.

    UF, UH: the app never saw it. UC: the app went away before it answered; nobody knows how far it
    came, so only methods that change nothing are repeated, as after a reset on the wire.
    """
    unseen = accesslog_pb2.ResponseFlagFilter(flags=["UF", "UH"])
    ended = accesslog_pb2.ResponseFlagFilter(flags=["UC"])
    harmless = route_components_pb2.HeaderMatcher(
        name=":method",
        string_match=string_pb2.StringMatcher(
            safe_regex=regex_pb2.RegexMatcher(regex=HARMLESS_METHODS)
        ),
    )
    both = accesslog_pb2.AndFilter(
        filters=[
            accesslog_pb2.AccessLogFilter(response_flag_filter=ended),
            accesslog_pb2.AccessLogFilter(
                header_filter=accesslog_pb2.HeaderFilter(header=harmless)
            ),
        ]
    )
    return [
        _marked(accesslog_pb2.AccessLogFilter(response_flag_filter=unseen)),
        _marked(accesslog_pb2.AccessLogFilter(and_filter=both)),
    ]


def _marked(which: Any) -> Any:
    mark = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=names.UNDELIVERED_HEADER, value="1"),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return hcm_pb2.ResponseMapper(filter=which, headers_to_add=[mark])
