import json
from dataclasses import replace

import pytest

from hostmesh_agent.logic.bootstrap import BootstrapInput, bootstrap
from hostmesh_core import names
from hostmesh_testing.golden import type_golden

INPUT = BootstrapInput(
    node_id="7f3a0000000000000000000000000000",
    epoch=2,
    instance="default",
    xds_socket="/run/hostmesh/default/envoy/xds.sock",
    admin_socket="/run/hostmesh/default/admin/admin.sock",
    readiness_port=15021,
    prometheus_port=15090,
    agent_version="0.1.0",
)


def test_the_whole_of_it(golden: type_golden) -> None:
    golden("bootstrap.json", bootstrap(INPUT))


def test_a_host_without_ipv6_binds_ipv4_alone() -> None:
    text = bootstrap(replace(INPUT, ipv6=False))
    assert '"::"' not in text
    assert '"0.0.0.0"' in text


def test_the_epoch_is_told_to_the_relay_and_to_loopback_alone() -> None:
    document = json.loads(bootstrap(INPUT))
    assert document["node"]["metadata"][names.EPOCH_METADATA] == 2
    readiness = document["static_resources"]["listeners"][0]
    (local,) = readiness["filter_chains"]
    prefixes = [
        entry["address_prefix"] for entry in local["filter_chain_match"]["source_prefix_ranges"]
    ]
    assert prefixes == ["127.0.0.0", "::1"]
    assert names.EPOCH_HEADER in json.dumps(local)
    assert names.EPOCH_HEADER not in json.dumps(readiness["default_filter_chain"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("node_id", "other", id="the node's id"),
        pytest.param("epoch", 3, id="the epoch"),
        pytest.param("instance", "edge", id="the instance"),
        pytest.param("xds_socket", "/x", id="the relay's socket"),
        pytest.param("admin_socket", "/a", id="the admin socket"),
        pytest.param("readiness_port", 1, id="the readiness port"),
        pytest.param("prometheus_port", 1, id="Prometheus' port"),
        pytest.param("ipv6", False, id="the address families"),
        pytest.param("agent_version", "9", id="the agent's version"),
        pytest.param("max_connections", 5, id="the limit of connections"),
        pytest.param("metadata", (("a", "b"),), id="further metadata"),
    ],
)
def test_every_input_shows(field: str, value: object) -> None:
    changed = replace(INPUT, **{field: value})  # type: ignore[arg-type]
    assert bootstrap(changed) != bootstrap(INPUT)
    assert bootstrap(changed) == bootstrap(changed)
