from collections.abc import Mapping
from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf import json_format

from hostmesh_agent.logic import relay_facts
from hostmesh_agent.logic.relay_facts import MeshEndpoint, VirtualService
from hostmesh_core.type_urls import CLUSTER, ENDPOINT
from hostmesh_core.xds.resource import Resource, resource
from hostmesh_core.xds.store import generation_of

WEB = "outbound|80||web.default.mesh.internal"
DESCRIBED = {
    "host": "web.default.mesh.internal",
    "port": 80,
    "protocol": "http",
    "vip4": "240.240.0.1",
    "vip6": "fd48::1",
    "names": ["web.default.mesh.internal", "web"],
}
SOCKET = {"name": "mesh", "transport_socket": {"name": "tls"}}


def cluster(name: str, described: Mapping[str, Any] | None, **more: Any) -> Resource:
    content: dict[str, Any] = {"name": name, "type": "EDS", **more}
    if described is not None:
        content["metadata"] = {"filter_metadata": {"hostmesh": described}}
    message = json_format.ParseDict(content, Cluster())
    return resource(CLUSTER, name, message.SerializeToString())


def at(address: str, port: int = 8080) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": address, "port_value": port}}}


def assignment(name: str, *endpoints: Mapping[str, Any]) -> Resource:
    content = {"cluster_name": name, "endpoints": [{"lb_endpoints": list(endpoints)}]}
    message = json_format.ParseDict(content, ClusterLoadAssignment())
    return resource(ENDPOINT, name, message.SerializeToString())


def mode(value: str) -> dict[str, Any]:
    return {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": value}}}


def test_names_and_addresses_come_from_the_clusters_metadata() -> None:
    facts = relay_facts.read(
        generation_of([cluster(WEB, DESCRIBED), cluster("PassthroughCluster", None)])
    )
    assert facts.services == (
        VirtualService(
            host="web.default.mesh.internal",
            port=80,
            protocol="http",
            vip4="240.240.0.1",
            vip6="fd48::1",
            names=("web.default.mesh.internal", "web"),
        ),
    )
    both = ("240.240.0.1", "fd48::1")
    assert facts.addresses() == {"web": both, "web.default.mesh.internal": both}


@pytest.mark.parametrize(
    ("of_cluster", "of_endpoint", "meshed"),
    [
        pytest.param({}, {}, False, id="a plain service has no TLS socket"),
        pytest.param(
            {"transport_socket_matches": [SOCKET]}, {}, True, id="a mesh service has nothing else"
        ),
        pytest.param(
            {"transport_socket": {"name": "tls"}}, {}, True, id="one socket for all counts too"
        ),
        pytest.param(
            {"transport_socket_matches": [SOCKET]},
            {"metadata": mode("istio")},
            True,
            id="a registered endpoint of a mixed service",
        ),
        pytest.param(
            {"transport_socket_matches": [SOCKET]},
            {"metadata": mode("disabled")},
            False,
            id="a plain endpoint of a mixed service",
        ),
    ],
)
def test_only_meshed_endpoints_are_captured(
    of_cluster: dict[str, Any],
    of_endpoint: dict[str, Any],
    meshed: bool,  # noqa: FBT001
) -> None:
    endpoint = {"endpoint": at("10.0.0.1"), **of_endpoint}
    facts = relay_facts.read(
        generation_of([cluster(WEB, DESCRIBED, **of_cluster), assignment(WEB, endpoint)])
    )
    assert facts.endpoints == (MeshEndpoint("10.0.0.1", 8080, "web.default.mesh.internal", meshed),)
    assert facts.captured() == ({("10.0.0.1", 8080)} if meshed else frozenset())


def test_both_families_of_an_instance_count() -> None:
    endpoint = {
        "endpoint": {**at("10.0.0.1"), "additional_addresses": [at("fd00::1")]},
        "metadata": mode("istio"),
    }
    facts = relay_facts.read(generation_of([cluster(WEB, DESCRIBED), assignment(WEB, endpoint)]))
    assert facts.captured() == {("10.0.0.1", 8080), ("fd00::1", 8080)}


def test_of_two_services_with_one_name_the_first_by_host_has_it() -> None:
    other = DESCRIBED | {"host": "a.default.mesh.internal", "vip4": "240.240.0.9"}
    facts = relay_facts.read(generation_of([cluster(WEB, DESCRIBED), cluster("other", other)]))
    assert facts.addresses()["web"][0] == "240.240.0.9"
