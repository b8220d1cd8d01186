from collections.abc import Mapping
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf import json_format

from hostmesh_agent.logic import relay_facts
from hostmesh_agent.logic.relay_facts import MeshEndpoint, VirtualService
from hostmesh_core.names import DIRECT_CLUSTER
from hostmesh_core.type_urls import CLUSTER, LISTENER
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


def cluster(name: str, described: Mapping[str, Any] | None, **more: Any) -> Resource:
    content: dict[str, Any] = {"name": name, "type": "EDS", **more}
    if described is not None:
        content["metadata"] = {"filter_metadata": {"hostmesh": described}}
    message = json_format.ParseDict(content, Cluster())
    return resource(CLUSTER, name, message.SerializeToString())


def at(address: str, port: int = 8080) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": address, "port_value": port}}}


def direct(address: str, *others: str, stat_prefix: str = DIRECT_CLUSTER) -> Resource:
    content = {
        "name": f"{address}_8080",
        "stat_prefix": stat_prefix,
        **at(address),
        "additional_addresses": [at(other) for other in others],
        "metadata": {"filter_metadata": {"hostmesh": {"host": DESCRIBED["host"], "port": 80}}},
    }
    message = json_format.ParseDict(content, Listener())
    return resource(LISTENER, str(content["name"]), message.SerializeToString())


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


def test_a_registered_instance_is_captured_though_no_assignment_has_it() -> None:
    facts = relay_facts.read(generation_of([cluster(WEB, DESCRIBED), direct("10.0.0.1")]))
    assert facts.endpoints == (MeshEndpoint("10.0.0.1", 8080, "web.default.mesh.internal"),)
    assert facts.captured() == {("10.0.0.1", 8080)}


def test_what_nobody_registered_is_not_captured() -> None:
    other = direct("10.0.0.2", stat_prefix="something else")
    assert relay_facts.read(generation_of([cluster(WEB, DESCRIBED), other])).captured() == set()


def test_both_families_of_an_instance_count() -> None:
    facts = relay_facts.read(generation_of([direct("10.0.0.1", "fd00::1")]))
    assert facts.captured() == {("10.0.0.1", 8080), ("fd00::1", 8080)}


def test_of_two_services_with_one_name_the_first_by_host_has_it() -> None:
    other = DESCRIBED | {"host": "a.default.mesh.internal", "vip4": "240.240.0.9"}
    facts = relay_facts.read(generation_of([cluster(WEB, DESCRIBED), cluster("other", other)]))
    assert facts.addresses()["web"][0] == "240.240.0.9"
