"""Listeners and clusters small enough to be seen through, for tests of Envoy's life."""

from collections.abc import Mapping

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf import json_format

from hostmesh_core import type_urls
from hostmesh_core.xds.resource import Resource, resource

_NEEDED = (router_pb2, http_connection_manager_pb2, tcp_proxy_pb2)
"""Imported so that their types are known to the JSON reader."""

Json = Mapping[str, object]
_NETWORK = "envoy.filters.network"
_TYPES = type_urls.PREFIX + "envoy.extensions.filters"


def hello(name: str, port: int, *, body: str = "hello") -> Resource:
    """An HTTP listener that answers `body` by itself."""
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": body}},
    }
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"},
            }
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    return _listener(name, port, f"{_NETWORK}.http_connection_manager", manager)


def tcp(name: str, port: int, *, cluster: str) -> Resource:
    """A TCP listener that leads to a cluster."""
    proxy = {
        "@type": f"{_TYPES}.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "cluster": cluster,
    }
    return _listener(name, port, f"{_NETWORK}.tcp_proxy", proxy)


def static_cluster(name: str, port: int) -> Resource:
    """A cluster of one address on loopback."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    message = json_format.ParseDict(
        {
            "name": name,
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        },
        Cluster(),
    )
    return resource(type_urls.CLUSTER, name, message.SerializeToString())


def _listener(name: str, port: int, filter_name: str, config: Json) -> Resource:
    message = json_format.ParseDict(
        {
            "name": name,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": filter_name, "typed_config": config}]}],
        },
        Listener(),
    )
    return resource(type_urls.LISTENER, name, message.SerializeToString())
