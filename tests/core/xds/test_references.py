from collections.abc import Mapping

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm,
)
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2 as tcp
from google.protobuf import json_format
from google.protobuf.message import Message

from hostmesh_core.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST
from hostmesh_core.xds import references
from hostmesh_core.xds.references import References
from hostmesh_core.xds.resource import Resource, resource
from hostmesh_testing.xds import assignment, cluster

# The messages have to be imported for their JSON form to be read.
assert hcm
assert tcp

HCM = "type.googleapis.com/" + hcm.HttpConnectionManager.DESCRIPTOR.full_name
TCP = "type.googleapis.com/" + tcp.TcpProxy.DESCRIPTOR.full_name
ADS = {"config_source": {"ads": {}, "resource_api_version": "V3"}}
ROUTES = {
    "virtual_hosts": [
        {
            "name": "v",
            "domains": ["*"],
            "request_mirror_policies": [{"cluster": "host-mirror"}],
            "routes": [
                {"match": {"prefix": "/a"}, "route": {"cluster": "plain"}},
                {
                    "match": {"prefix": "/b"},
                    "route": {
                        "weighted_clusters": {
                            "clusters": [
                                {"name": "v1", "weight": 1},
                                {"cluster_header": "x", "weight": 1},
                            ]
                        },
                        "request_mirror_policies": [{"cluster": "mirror"}],
                    },
                },
                {"match": {"prefix": "/c"}, "route": {"cluster_header": "x-cluster"}},
                {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
            ],
        }
    ]
}
ROUTED = frozenset({"plain", "v1", "mirror", "host-mirror"})


def built(type_url: str, name: str, message: Message, content: Mapping[str, object]) -> Resource:
    json_format.ParseDict(dict(content), message)
    return resource(type_url, name, message.SerializeToString())


def listener(*filters: dict[str, object], **more: object) -> Resource:
    content = {"name": "l", "filter_chains": [{"filters": list(filters)}], **more}
    return built(LISTENER, "l", Listener(), content)


def manager(**content: object) -> dict[str, object]:
    return {"name": "hcm", "typed_config": {"@type": HCM, **content}}


def tcp_proxy(**content: object) -> dict[str, object]:
    return {"name": "tcp", "typed_config": {"@type": TCP, "stat_prefix": "t", **content}}


WEIGHTED = {"weighted_clusters": {"clusters": [{"name": "v1"}, {"name": "v2"}]}}


@pytest.mark.parametrize(
    ("item", "found"),
    [
        pytest.param(assignment("a"), References(), id="an assignment refers to nothing"),
        pytest.param(
            cluster("a"),
            References(assignments=frozenset({"a"})),
            id="an EDS cluster refers to the assignment of its name",
        ),
        pytest.param(cluster("a", eds=False), References(), id="another cluster to nothing"),
        pytest.param(
            listener(tcp_proxy(cluster="a")),
            References(clusters=frozenset({"a"})),
            id="tcp_proxy to its cluster",
        ),
        pytest.param(
            listener(tcp_proxy(**WEIGHTED)),
            References(clusters=frozenset({"v1", "v2"})),
            id="tcp_proxy to its weighted clusters",
        ),
        pytest.param(
            listener(manager(rds={"route_config_name": "80"})),
            References(routes=frozenset({"80"})),
            id="a connection manager to its routes by name",
        ),
        pytest.param(
            listener(manager(route_config=ROUTES)),
            References(clusters=ROUTED),
            id="a connection manager to the clusters of its inline routes",
        ),
        pytest.param(
            listener(
                {"name": "network-slot", "config_discovery": ADS},
                manager(
                    http_filters=[
                        {"name": "http-slot", "config_discovery": ADS},
                        {"name": "inline"},
                    ]
                ),
                listener_filters=[
                    {"name": "listener-slot", "config_discovery": ADS},
                    {"name": "inline"},
                ],
            ),
            References(extensions=frozenset({"network-slot", "http-slot", "listener-slot"})),
            id="discovered slots to their extension configs",
        ),
        pytest.param(
            listener(default_filter_chain={"filters": [tcp_proxy(cluster="a")]}),
            References(clusters=frozenset({"a"})),
            id="the default chain counts",
        ),
        pytest.param(
            built(
                LISTENER,
                "l",
                Listener(),
                {
                    "api_listener": {
                        "api_listener": manager(rds={"route_config_name": "r"})["typed_config"]
                    }
                },
            ),
            References(routes=frozenset({"r"})),
            id="the listener of a gRPC client counts",
        ),
        pytest.param(
            built(ROUTE, "r", RouteConfiguration(), ROUTES),
            References(clusters=ROUTED),
            id="routes to every cluster they can name",
        ),
    ],
)
def test_references(item: Resource, found: References) -> None:
    assert references.of(item) == found


def test_a_virtual_host_alone_refers_like_its_route_configuration() -> None:
    hosts = json_format.ParseDict(ROUTES, RouteConfiguration()).virtual_hosts
    item = resource(VIRTUAL_HOST, "v", hosts[0].SerializeToString())
    assert references.of(item).clusters == ROUTED


def test_an_assignment_may_have_a_name_of_its_own() -> None:
    content = {"name": "a", "type": "EDS", "eds_cluster_config": {"service_name": "b"}}
    found = references.of(built(CLUSTER, "a", Cluster(), content))
    assert dict(found.by_type())[ENDPOINT] == {"b"}


def test_bytes_that_are_no_message_are_named() -> None:
    with pytest.raises(references.Unreadable, match="cannot read LDS resource 'l'"):
        references.of(Resource(LISTENER, "l", "1", b"\xff\xff\xff"))
