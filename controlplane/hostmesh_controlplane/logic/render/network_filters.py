"""Network filters: what each chain does with a connection."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from envoy.config.core.v3 import config_source_pb2, substitution_format_string_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.rbac.v3 import rbac_pb2 as rules_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from hostmesh_controlplane.logic.render.encoding import ads, packed, seconds
from hostmesh_core import names, type_urls

LISTENER_FILTERS_SECONDS = 1.0
"""Then the connection goes on uninspected; at 0 a server-first protocol hangs for ever (tried)."""

_CONNECT_ATTEMPTS = 4
"""As many instances as an HTTP request is tried on: nothing was sent yet."""

HASHABLE = "envoy.hashable_string"
"""`envoy.string` would merge the pools of two identities: B would speak as A (measured)."""


def network_filter(name: str, message: Any) -> Any:
    """Give a network filter of stock Envoy."""
    return listener_components_pb2.Filter(name=name, typed_config=packed(message))


def outbound_state(
    extra: Mapping[str, tuple[str, str]] | None = None, *, capture_port: int = 0
) -> Any:
    """Say whose connection this is, by the capture port it came in by. First in every chain.

    `extra` is further filter state: key -> (factory, text). `capture_port`: the connection counts
    as one that came in by it, wherever it did; 0 = say where it did.
    """
    by = str(capture_port or "%DOWNSTREAM_DIRECT_LOCAL_PORT%")
    values = [_state(names.IDENTITY_FILTER_STATE, HASHABLE, by)]
    values += [_state(key, factory, text) for key, (factory, text) in (extra or {}).items()]
    config = set_filter_state_pb2.Config(on_new_connection=values)
    return network_filter("envoy.filters.network.set_filter_state", config)


def filter_state(values: Mapping[str, tuple[str, str]]) -> Any:
    """Set filter state only: key -> (factory, text)."""
    config = set_filter_state_pb2.Config(
        on_new_connection=[_state(key, factory, text) for key, (factory, text) in values.items()]
    )
    return network_filter("envoy.filters.network.set_filter_state", config)


@lru_cache(4096)
def to_cluster(cluster: str, *, stat_prefix: str = "", attempts: int = _CONNECT_ATTEMPTS) -> Any:
    """Pass the bytes on. No idle timeout: databases live on silent connections.

    The message is shared: copy it, never change it.
    """
    proxy = tcp_proxy_pb2.TcpProxy(
        stat_prefix=stat_prefix or cluster, cluster=cluster, idle_timeout=seconds(0)
    )
    proxy.max_connect_attempts.value = attempts
    return network_filter("envoy.filters.network.tcp_proxy", proxy)


def to_app(cluster: str, *, access_log: Sequence[Any]) -> Any:
    """Pass an inbound connection on to the app; each is logged as soon as the app has taken it."""
    proxy = tcp_proxy_pb2.TcpProxy(
        stat_prefix=cluster, cluster=cluster, idle_timeout=seconds(0), access_log=access_log
    )
    proxy.max_connect_attempts.value = 1
    proxy.access_log_options.flush_access_log_on_connected = True
    return network_filter("envoy.filters.network.tcp_proxy", proxy)


def discovered_policy(name: str) -> Any:
    """Give the slot of a TCP policy, whose substance comes by ECDS under the same name.

    It always comes, so the listener waits for it; if it does not for 15 s, nobody may enter.
    """
    nobody = rbac_pb2.RBAC(
        rules=rules_pb2.RBAC(action=rules_pb2.RBAC.ALLOW), stat_prefix=f"{name}.missing."
    )
    source = config_source_pb2.ExtensionConfigSource(
        config_source=ads(),
        default_config=packed(nobody),
        type_urls=[type_urls.PREFIX + nobody.DESCRIPTOR.full_name],
    )
    return listener_components_pb2.Filter(name=name, config_discovery=source)


def original_dst() -> Any:
    """Restore the destination that the client dialled."""
    return _listener_filter("envoy.filters.listener.original_dst", original_dst_pb2.OriginalDst())


def tls_inspector() -> Any:
    """Tell TLS from plaintext, and read SNI and ALPN."""
    return _listener_filter(
        "envoy.filters.listener.tls_inspector", tls_inspector_pb2.TlsInspector()
    )


def http_inspector() -> Any:
    """Tell HTTP from other plaintext."""
    return _listener_filter(
        "envoy.filters.listener.http_inspector", http_inspector_pb2.HttpInspector()
    )


def _listener_filter(name: str, message: Any) -> Any:
    return listener_components_pb2.ListenerFilter(name=name, typed_config=packed(message))


def _state(key: str, factory: str, text: str) -> Any:
    text_format = substitution_format_string_pb2.SubstitutionFormatString()
    text_format.text_format_source.inline_string = text
    return value_pb2.FilterStateValue(
        object_key=key,
        factory_key=factory,
        format_string=text_format,
        shared_with_upstream=value_pb2.FilterStateValue.ONCE,
    )
