"""Counters of who calls a port: each inbound chain's access loggers, which only count.

They are constant parts of a chain, so they cost no drain, and they count a request or a connection
when it begins, once: a long poll or a database session that lives for days is seen at once. Nothing
that a client sends is believed: the address is that of the connection itself.

Anybody can come from many addresses, so Envoy keeps at most `MAX_ADDRESSES` of them for a chain;
beyond that the total counts on, and an address that is silent for one to two hours gives its place
back (`stats_eviction_interval` in the agent's bootstrap).
"""

from collections.abc import Mapping
from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.data.accesslog.v3 import accesslog_pb2 as data_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from google.protobuf import struct_pb2
from xds.type.v3 import typed_struct_pb2

from hostmesh_controlplane.logic.render.encoding import packed
from hostmesh_core import names, type_urls
from hostmesh_core.capture_plan import PROOF_PORTS

MAX_ADDRESSES = 1024
"""Of one chain: about 300 KiB, and far more than there are hosts that somebody has to join."""

_LOGGER = "envoy.access_loggers.stats"
_CONFIG = "envoy.extensions.access_loggers.stats.v3.Config"
_NEVER_CONNECTED = ("UF", "UH", "NC", "NR", "UO")
"""How a connection ends that never reached the app: it was not counted when it did."""
_ADDRESS = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"

Filter = accesslog_pb2.AccessLogFilter


def loggers(port: int, *, mtls: bool, http: bool, inspected: bool = True) -> list[Any]:
    """Give a chain's loggers: one number where callers show a certificate, else addresses too."""
    start = _request() if http else _connection()
    tag = {"port": str(port)}
    if mtls:
        calls = _both(start, _not_the_proof(inspected=inspected))
        return [_logger(calls, names.CALLERS_MUTUAL_TLS, tag)]
    return [
        _logger(start, names.CALLERS_PLAINTEXT, tag),
        _logger(
            start, names.CALLERS_PLAINTEXT_FROM, tag | {"caller": _ADDRESS}, most=MAX_ADDRESSES
        ),
    ]


def _logger(which: Any, name: str, tags: Mapping[str, str], *, most: int = 0) -> Any:
    """Make one logger. Its message is newer than the bindings, so it goes as a TypedStruct."""
    scope: dict[str, Any] = {"prefix": names.CALLERS_STATS}
    if most:
        scope |= {"max_counters": most, "enable_eviction": True}
    stat: dict[str, Any] = {
        "name": name,
        "tags": [{"name": key, "value_format": value} for key, value in tags.items()],
    }
    value = struct_pb2.Struct()
    value.update({"stats_scope": scope, "counters": [{"stat": stat, "value_fixed": 1}]})
    config = typed_struct_pb2.TypedStruct(type_url=type_urls.PREFIX + _CONFIG, value=value)
    return accesslog_pb2.AccessLog(name=_LOGGER, filter=which, typed_config=packed(config))


def _request() -> Any:
    return _type(data_pb2.DownstreamStart)


def _connection() -> Any:
    """Match a connection that has reached the app, or one that ends without having done so."""
    lost = Filter(
        response_flag_filter=accesslog_pb2.ResponseFlagFilter(flags=_NEVER_CONNECTED),
    )
    return _either(
        _type(data_pb2.TcpUpstreamConnected), _both(_type(data_pb2.TcpConnectionEnd), lost)
    )


def _not_the_proof(*, inspected: bool) -> Any:
    """Leave out the agent's own proof: it shows itself by its server name.

    Where the first bytes are not looked at, the name is not known; there its source port tells.
    """
    expression = f'connection.requested_server_name != "{names.PROOF_SERVER_NAME}"'
    if not inspected:
        low, high = PROOF_PORTS
        expression = f"source.port < {low} || source.port > {high}"
    cel = cel_pb2.ExpressionFilter(expression=expression)
    return Filter(
        extension_filter=accesslog_pb2.ExtensionFilter(
            name="envoy.access_loggers.extension_filters.cel", typed_config=packed(cel)
        )
    )


def _type(kind: Any) -> Any:
    return Filter(log_type_filter=accesslog_pb2.LogTypeFilter(types=[kind]))


def _both(*filters: Any) -> Any:
    return Filter(and_filter=accesslog_pb2.AndFilter(filters=filters))


def _either(*filters: Any) -> Any:
    return Filter(or_filter=accesslog_pb2.OrFilter(filters=filters))
