from typing import Any

import pytest

from hostmesh_controlplane.events.catalogs import ConsulFacts
from hostmesh_controlplane.logic import listed_addresses
from hostmesh_controlplane.logic.catalog import CatalogService
from hostmesh_controlplane.logic.consul_catalog import ConsulMapping, read_service, suspicion
from hostmesh_core.errors import BadInput
from hostmesh_core.model import Health, Locality, Port, Protocol

MAPPING = ConsulMapping("dc1", "mesh.internal")


def of_187(**service: Any) -> dict[str, Any]:
    """An instance as Consul 1.8.7 lists it (recorded from a real agent, names shortened)."""
    return {
        "Node": {
            "ID": "0d3b6b7c-2a51-4c55-9a44-0f6f6d8f2a10",
            "Node": "t1",
            "Address": "127.0.0.1",
            "Datacenter": "dc1",
            "TaggedAddresses": {"lan": "127.0.0.1", "lan_ipv4": "127.0.0.1", "wan": "127.0.0.1"},
            "Meta": {"consul-network-segment": ""},
            "CreateIndex": 11,
            "ModifyIndex": 13,
        },
        "Service": {
            "ID": "r1",
            "Service": "reviews",
            "Tags": ["version=v1"],
            "Address": "10.0.0.1",
            "TaggedAddresses": {
                "lan_ipv4": {"Address": "10.0.0.1", "Port": 9080},
                "wan_ipv4": {"Address": "10.0.0.1", "Port": 9080},
            },
            "Meta": {"protocol": "http"},
            "Port": 9080,
            "Weights": {"Passing": 1, "Warning": 1},
            "EnableTagOverride": False,
            "Proxy": {"MeshGateway": {}, "Expose": {}},
            "Connect": {},
            "CreateIndex": 17,
            "ModifyIndex": 17,
        }
        | service,
        "Checks": [check("serfHealth", "passing", name="Serf Health Status")],
    }


def of_120() -> dict[str, Any]:
    """An instance in the documented shape of current releases: locality, partition, peer."""
    instance = of_187(
        Kind="",
        Namespace="default",
        Partition="default",
        PeerName="",
        Locality={"Region": "us-east-1", "Zone": "us-east-1a"},
        TaggedAddresses={"lan": {"address": "10.0.0.1", "port": 9080}},
        SocketPath="",
    )
    instance["Node"] |= {"Partition": "default", "PeerName": "", "Locality": None}
    return instance


def check(check_id: str, status: str, *, name: str = "") -> dict[str, Any]:
    return {"CheckID": check_id, "Name": name, "Status": status, "Output": "changes every time"}


def read(*instances: object, service: str = "reviews") -> CatalogService:
    found = read_service(service, instances, MAPPING)
    assert found is not None
    return found


@pytest.mark.parametrize("shape", [of_187(), of_120()], ids=["1.8.7", "1.20"])
def test_an_instance_of_every_release(shape: dict[str, Any]) -> None:
    service = read(shape)
    (endpoint,) = service.endpoints
    assert (str(endpoint.key), endpoint.service_port) == ("10.0.0.1:9080", 0)
    assert endpoint.labels == (("version", "v1"),)
    assert (service.host, service.aliases) == (
        "reviews.default.mesh.internal",
        ("reviews.service.consul",),
    )
    assert service.stated_protocol is Protocol.HTTP
    assert (service.short_name, service.problems) == ("reviews", ())


def test_an_instance_says_which_node_and_id_it_was_written_under() -> None:
    origin = read(of_187()).endpoints[0].origin
    assert (origin.node, origin.service_id, str(origin)) == ("t1", "r1", "node t1 (r1)")


def test_what_a_writer_chose_as_a_name_cannot_act_in_a_terminal_or_a_log() -> None:
    nasty = of_187(ID="r1\x1b[2J\nWARNING all is well\u202e", Port=0)
    nasty["Node"]["Node"] = "n" * 5000
    nasty["Checks"] = [check("c", "critical", name="\x1b[31m" + "x" * 5000)]
    read_ = read(nasty, nasty | {"Service": nasty["Service"] | {"Port": 80}})
    (problem,) = read_.problems
    (endpoint,) = read_.endpoints
    for text in (problem, endpoint.reason, str(endpoint.origin)):
        assert text.isprintable()
        assert len(text) < 300


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("127.0.0.1", id="the caller's loopback"),
        pytest.param("::1", id="its loopback in IPv6"),
        pytest.param("::ffff:127.0.0.1", id="its loopback, mapped"),
        pytest.param("169.254.169.254", id="a cloud's metadata service"),
        pytest.param("fe80::1", id="the caller's link"),
        pytest.param("fe80::1%eth0", id="a zone"),
        pytest.param("240.240.0.7", id="a virtual address"),
        pytest.param("fd48:6d65:7368::7", id="a virtual address in IPv6"),
        pytest.param("::ffff:240.240.0.7", id="a virtual address, mapped"),
        pytest.param("0.0.0.0", id="any"),
        pytest.param("::", id="any in IPv6"),
        pytest.param("255.255.255.255", id="broadcast"),
        pytest.param("224.0.0.1", id="multicast"),
        pytest.param("2002:a00:1::", id="6to4"),
        pytest.param("::10.0.0.1", id="IPv4-compatible"),
        pytest.param("64:ff9b::10.0.0.1", id="NAT64"),
        pytest.param("web.example", id="a name"),
        pytest.param("10.0.0.1; drop", id="no address at all"),
    ],
)
def test_an_address_that_is_no_other_hosts_is_left_out_and_told(address: str) -> None:
    virtual = listed_addresses.networks(("240.240.0.0/16", "fd48:6d65:7368::/64"))
    mapping = ConsulMapping("dc1", "mesh.internal", virtual=virtual)
    found = read_service("reviews", [of_187(Address=address), of_187(ID="r2")], mapping)
    assert found is not None
    assert [str(endpoint.key) for endpoint in found.endpoints] == ["10.0.0.1:9080"]
    (problem,) = found.problems
    assert problem.startswith("instance r1 on t1 is left out: ")


def test_the_control_planes_own_name_is_nobodys_service() -> None:
    own = frozenset({"control-plane.mesh.internal"})
    mapping = ConsulMapping(
        "dc1", "mesh.internal", host_template="{service}.{mesh_domain}", reserved_hosts=own
    )
    with pytest.raises(BadInput, match="the control plane's own name"):
        mapping.host("Control-Plane")


def test_a_flood_of_bad_instances_and_labels_is_told_in_a_few_sentences() -> None:
    bad = [of_187(ID=f"r{n}", Port=0) for n in range(1000)]
    labelled = of_187(Tags=[f"k{n}=v" for n in range(1000)] + ["big=" + "x" * 5000])
    found = read(labelled, *bad)
    assert len(found.problems) == 21
    assert found.problems[-1] == "and 980 more such remarks"
    assert len(found.endpoints[0].labels) == 64


def test_locality_is_what_is_stated_or_else_the_datacenter() -> None:
    zoned = of_187()
    zoned["Node"]["Meta"] = {"zone": "rack7"}
    assert read(of_187()).endpoints[0].locality == Locality("dc1")
    assert read(zoned).endpoints[0].locality == Locality("dc1", "rack7")
    assert read(of_120()).endpoints[0].locality == Locality("us-east-1", "us-east-1a")


def test_an_instance_without_address_is_at_its_node() -> None:
    at_node = of_187(Address="")
    at_node["Node"]["Address"] = "10.0.0.7"
    assert str(read(at_node).endpoints[0].key) == "10.0.0.7:9080"


@pytest.mark.parametrize(
    ("checks", "health", "reason", "weight"),
    [
        pytest.param([], Health.HEALTHY, "", 10, id="no check"),
        pytest.param([check("a", "passing")], Health.HEALTHY, "", 10, id="passing"),
        pytest.param(
            [check("a", "passing"), check("b", "warning", name="disk")],
            Health.DEGRADED,
            'check "disk" is warning',
            2,
            id="warning takes the warning weight",
        ),
        pytest.param(
            [check("b", "critical"), check("a", "critical"), check("c", "warning")],
            Health.UNHEALTHY,
            'check "a", "b" are critical',
            10,
            id="critical before warning",
        ),
        pytest.param(
            [check("_node_maintenance", "critical")],
            Health.UNHEALTHY,
            "in maintenance",
            10,
            id="node maintenance",
        ),
        pytest.param(
            [check("_service_maintenance:r1", "critical"), check("x", "critical")],
            Health.UNHEALTHY,
            "in maintenance",
            10,
            id="service maintenance",
        ),
    ],
)
def test_checks_become_health_and_weight(
    checks: list[dict[str, Any]], health: Health, reason: str, weight: int
) -> None:
    instance = of_187(Weights={"Passing": 10, "Warning": 2})
    instance["Checks"] = checks
    (endpoint,) = read(instance).endpoints
    assert (endpoint.health, endpoint.reason, endpoint.weight) == (health, reason, weight)


def test_a_checks_output_is_no_change() -> None:
    one, other = of_187(), of_187()
    other["Checks"][0]["Output"] = "something else"
    other["Node"]["ModifyIndex"] = 99
    assert read(one) == read(other)


def test_a_weight_of_zero_is_out_and_says_so() -> None:
    instance = of_187(Weights={"Passing": 5, "Warning": 0})
    instance["Checks"] = [check("b", "warning")]
    (endpoint,) = read(instance).endpoints
    assert (endpoint.health, endpoint.weight) == (Health.UNHEALTHY, 1)
    assert endpoint.reason == "its weight while warning is 0"


def test_the_order_of_instances_does_not_matter() -> None:
    instances = [of_187(ID=f"r{n}", Address=f"10.0.0.{n}") for n in range(1, 5)]
    assert read(*instances) == read(*reversed(instances))


def test_connect_proxies_are_no_instances() -> None:
    assert read_service("web", [of_187(Kind="connect-proxy")], MAPPING) is None
    assert read_service("web", [], MAPPING) is None
    assert len(read(of_187(), of_187(ID="p", Kind="mesh-gateway")).endpoints) == 1


@pytest.mark.parametrize(
    ("service", "problem"),
    [
        pytest.param({"Port": 0}, "instance r1 on t1 states no port and is left out", id="port 0"),
        pytest.param({"Port": None}, "states no port and is left out", id="no port"),
        pytest.param({"Address": "web.example.net"}, "not an IP address", id="a name"),
        pytest.param({"SocketPath": "/run/x"}, "listens on a unix socket", id="unix socket"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_told(service: dict[str, Any], problem: str) -> None:
    found = read(of_187(**service), of_187(ID="r2", Address="10.0.0.2"))
    assert [str(endpoint.key) for endpoint in found.endpoints] == ["10.0.0.2:9080"]
    assert problem in found.problems[0]


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        pytest.param({"protocol": "htpt"}, 'meta protocol "htpt" is none of http', id="protocol"),
        pytest.param({"service_port": "x"}, 'meta service_port "x" is no port', id="port"),
    ],
)
def test_meta_that_means_nothing_is_told(meta: dict[str, str], problem: str) -> None:
    found = read(of_187(Meta=meta))
    assert len(found.endpoints) == 1
    assert problem in found.problems[0]


def test_garbage_harms_nobody() -> None:
    found = read(of_187(), None, [], {"Service": 1, "Node": "x"}, {"Service": {"Tags": 3}})
    assert len(found.endpoints) == 1
    assert len(found.problems) == 1


def test_meta_may_number_the_service_port() -> None:
    found = read(of_187(Meta={"service_port": "80", "protocol": "grpc"}, Port=23011))
    assert found.ports == (Port(80, Protocol.GRPC),)
    assert found.endpoints[0].service_port == 80


def test_the_version_is_found_under_the_configured_name() -> None:
    mapping = ConsulMapping("dc1", "mesh.internal", version_tag="release")
    found = read_service("reviews", [of_187(Tags=["release=v7"], Meta={"team": "a"})], mapping)
    assert found is not None
    assert dict(found.endpoints[0].labels) == {"release": "v7", "team": "a", "version": "v7"}


def test_two_instances_at_one_key_count_as_the_worse_one() -> None:
    sick = of_187(ID="r9")
    sick["Checks"] = [check("a", "critical")]
    found = read(sick, of_187())
    assert [endpoint.health for endpoint in found.endpoints] == [Health.UNHEALTHY]
    assert found.problems == (
        "several instances are listed at 10.0.0.1:9080 (node t1 (r1), node t1 (r9)); "
        "they count as one",
    )


def test_a_second_registration_of_an_instance_draws_no_requests_to_it() -> None:
    heavy = of_187(ID="r9", Weights={"Passing": 65535, "Warning": 65535})
    for both in ((heavy, of_187()), (of_187(), heavy)):
        assert [endpoint.weight for endpoint in read(*both).endpoints] == [1]


def test_instances_that_differ_in_protocol_are_told() -> None:
    found = read(
        *(of_187(ID=f"r{n}", Address=f"10.0.0.{n}") for n in (1, 2)),
        of_187(ID="r3", Address="10.0.0.3", Meta={"protocol": "tcp"}),
    )
    assert found.stated_protocol is Protocol.HTTP
    assert found.problems == ("its instances differ in meta protocol: http, tcp",)


def test_names_come_from_templates() -> None:
    mapping = ConsulMapping(
        "dc2",
        "mesh.internal",
        namespace="shop",
        host_template="{service}.dc2.example.net",
        alias_template="",
    )
    found = read_service("Web", [of_187()], mapping)
    assert found is not None
    assert (found.host, found.namespace, found.aliases) == ("web.dc2.example.net", "shop", ())


def test_a_name_that_is_none_is_refused_with_the_way_out() -> None:
    with pytest.raises(BadInput, match=r'cannot take the Consul service "my_app".*leave it out'):
        read_service("my_app", [of_187()], MAPPING)
    bad = ConsulMapping("dc1", "mesh.internal", host_template="{servcie}.x")
    with pytest.raises(BadInput, match=r"cannot use the template.*known are \{service\}"):
        bad.host("web")


@pytest.mark.parametrize(
    ("facts", "before", "sentinel", "known", "words"),
    [
        pytest.param(ConsulFacts(42), 41, None, True, "", id="nothing strange"),
        pytest.param(ConsulFacts(42), 42, None, True, "index did not move", id="unchanged index"),
        pytest.param(ConsulFacts(42), 0, None, True, "", id="the first answer"),
        pytest.param(ConsulFacts(42, known_leader=False), 1, 3, True, "no leader", id="no leader"),
        pytest.param(ConsulFacts(42, filtered_by_acl=True), 1, 3, True, "ACLs", id="1.15 header"),
        pytest.param(ConsulFacts(42, last_contact_ms=20_000), 1, 3, True, "20000 ms", id="stale"),
        pytest.param(ConsulFacts(42), 41, 0, True, "sentinel", id="1.8.7: sentinel empty"),
        pytest.param(ConsulFacts(42), 41, 0, False, "", id="a sentinel that was never seen"),
        pytest.param(ConsulFacts(42), 41, 3, True, "", id="sentinel there"),
    ],
)
def test_suspicion(
    facts: ConsulFacts, before: int, sentinel: int | None, *, known: bool, words: str
) -> None:
    said = suspicion(facts, index_before=before, sentinel=sentinel, sentinel_known=known)
    assert words in said
    assert bool(words) == bool(said)
