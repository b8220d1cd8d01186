"""Envoy's bootstrap: everything that Envoy knows before the relay tells it the rest. Pure.

Static are only the way to the relay, the admin socket, and two listeners: readiness, which a worker
answers, and Prometheus on loopback. The secrets of the mesh never stand in it.
"""

import json
from dataclasses import dataclass, field

from hostmesh_core import names

Json = dict[str, object]

_TYPE = "type.googleapis.com/"
_HCM = f"{_TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_HTTP = f"{_TYPE}envoy.extensions.filters.http"
_H2_KEEPALIVE_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapInput:
    """All that a bootstrap depends on."""

    node_id: str
    """The host id. The control plane trusts the host's record, not this."""
    epoch: int
    instance: str
    xds_socket: str
    admin_socket: str
    readiness_port: int
    prometheus_port: int
    ipv6: bool = True
    """Whether this host can bind IPv6: a bind that fails would end Envoy at its start."""
    agent_version: str = ""
    max_connections: int = 1_000_000
    """Downstream connections at once; beyond it Envoy refuses instead of running out of files."""
    metadata: tuple[tuple[str, str], ...] = field(default=())


def bootstrap(values: BootstrapInput) -> str:
    """Give the bootstrap as JSON text."""
    document: Json = {
        "node": _node(values),
        "admin": {
            "address": {"pipe": {"path": values.admin_socket, "mode": 0o660}},
            "ignore_global_conn_limit": True,
        },
        "dynamic_resources": _dynamic_resources(),
        "static_resources": {
            "listeners": [_readiness(values), _prometheus(values)],
            "clusters": [_relay(values), _admin(values)],
        },
        "cluster_manager": {"outlier_detection": {}},
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "stats_flush_interval": "5s",
        # A caller that is not seen again gives its counter's place to another within two of these.
        "stats_eviction_interval": "3600s",
        "layered_runtime": {"layers": [{"name": "static", "static_layer": _RUNTIME}]},
        "overload_manager": _overload(values.max_connections),
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


_RUNTIME: Json = {
    # Istio's values: long regular expressions are the operator's choice, not an attack.
    "re2.max_program_size.error_level": 32768,
    "re2.max_program_size.warn_level": 16384,
}


def _node(values: BootstrapInput) -> Json:
    metadata: Json = {
        **dict(values.metadata),
        names.EPOCH_METADATA: values.epoch,
        "hostmesh_instance": values.instance,
    }
    if values.agent_version:
        metadata["hostmesh_agent_version"] = values.agent_version
    return {"id": values.node_id, "cluster": "hostmesh", "metadata": metadata}


def _dynamic_resources() -> Json:
    # The relay always answers, from its stored generation if need be: waiting for ever is right.
    source: Json = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [
                {
                    "envoy_grpc": {
                        "cluster_name": names.RELAY_CLUSTER,
                        # Envoy's own default grows to 30 s: too long for an agent that is back
                        # within one.
                        "retry_policy": {
                            "retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"}
                        },
                    }
                }
            ],
        },
        "cds_config": source,
        "lds_config": source,
    }


def _pipe_cluster(name: str, path: str) -> Json:
    endpoint: Json = {"endpoint": {"address": {"pipe": {"path": path}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _relay(values: BootstrapInput) -> Json:
    keepalive: Json = {"interval": f"{_H2_KEEPALIVE_SECONDS}s", "timeout": "10s"}
    options: Json = {
        "@type": f"{_TYPE}envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive}},
    }
    many: Json = {
        "priority": "DEFAULT",
        "max_connections": 100000,
        "max_pending_requests": 100000,
        "max_requests": 100000,
    }
    return {
        **_pipe_cluster(names.RELAY_CLUSTER, values.xds_socket),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
        "circuit_breakers": {"thresholds": [many, {**many, "priority": "HIGH"}]},
    }


def _admin(values: BootstrapInput) -> Json:
    return _pipe_cluster(names.ADMIN_CLUSTER, values.admin_socket)


def _readiness(values: BootstrapInput) -> Json:
    """Answer through a worker, and not after `healthcheck/fail` or in a drain (host-agent 36).

    Callers on this host learn the epoch, which proves a new Envoy beside an old one; everybody else
    learns the status code alone.
    """
    local: Json = {
        "filter_chain_match": {
            "source_prefix_ranges": [
                {"address_prefix": "127.0.0.0", "prefix_len": 8},
                {"address_prefix": "::1", "prefix_len": 128},
            ]
        },
        "name": "local",
        "filters": [_readiness_manager(values, epoch=True)],
    }
    return {
        **_listener(names.READINESS_LISTENER, values.readiness_port, _any(values)),
        "filter_chains": [local],
        "default_filter_chain": {
            "name": "others",
            "filters": [_readiness_manager(values, epoch=False)],
        },
    }


def _any(values: BootstrapInput) -> Json:
    if values.ipv6:
        return {"address": "::", "ipv4_compat": True}
    return {"address": "0.0.0.0"}  # noqa: S104  readiness is for everybody: a code, nothing else


def _listener(name: str, port: int, address: Json) -> Json:
    return {
        "name": name,
        "address": {"socket_address": {**address, "port_value": port}},
        "ignore_global_conn_limit": True,
        "bypass_overload_manager": True,
    }


def _readiness_manager(values: BootstrapInput, *, epoch: bool) -> Json:
    told: Json = {
        "header": {"key": names.EPOCH_HEADER, "value": str(values.epoch)},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    mutations: list[Json] = [{"remove": "x-envoy-upstream-healthchecked-cluster"}]
    mutations += [{"append": told}] if epoch else []
    health: Json = {
        "@type": f"{_HTTP}.health_check.v3.HealthCheck",
        "pass_through_mode": False,
        "headers": [{"name": ":path", "string_match": {"exact": names.READINESS_PATH}}],
    }
    mutation: Json = {
        "@type": f"{_HTTP}.header_mutation.v3.HeaderMutation",
        "mutations": {"response_mutations": mutations},
    }
    filters: list[Json] = [
        {"name": "envoy.filters.http.header_mutation", "typed_config": mutation},
        {"name": "envoy.filters.http.health_check", "typed_config": health},
    ]
    return _manager("readiness", filters, routes=[])


def _prometheus(values: BootstrapInput) -> Json:
    route: Json = {
        "match": {"path": "/stats/prometheus"},
        "route": {"cluster": names.ADMIN_CLUSTER, "timeout": "30s"},
    }
    address: Json = {"address": "127.0.0.1"}
    return {
        **_listener(names.PROMETHEUS_LISTENER, values.prometheus_port, address),
        "filter_chains": [{"filters": [_manager("prometheus", [], routes=[route])]}],
    }


def _manager(stat_prefix: str, filters: list[Json], *, routes: list[Json]) -> Json:
    router: Json = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_HTTP}.router.v3.Router"},
    }
    refused: Json = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    hosts: list[Json] = [{"name": "all", "domains": ["*"], "routes": [*routes, refused]}]
    manager: Json = {
        "@type": _HCM,
        "stat_prefix": stat_prefix,
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": False,
        "request_headers_timeout": "5s",
        "stream_idle_timeout": "35s",
        "common_http_protocol_options": {"idle_timeout": "30s"},
        "http_filters": [*filters, router],
        "route_config": {"name": stat_prefix, "virtual_hosts": hosts},
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def _overload(max_connections: int) -> Json:
    name = "envoy.resource_monitors.global_downstream_max_connections"
    monitor = "downstream_connections.v3.DownstreamConnectionsConfig"
    config: Json = {
        "@type": f"{_TYPE}envoy.extensions.resource_monitors.{monitor}",
        "max_active_downstream_connections": str(max_connections),
    }
    return {"resource_monitors": [{"name": name, "typed_config": config}]}
