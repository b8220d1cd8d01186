from typing import Any

from hostmesh_controlplane.logic.render import network_filters
from hostmesh_testing.render_reading import message


def read(found: Any) -> Any:
    return message(found.typed_config.type_url, found.typed_config.value)


def test_a_silent_connection_stays() -> None:
    proxy = read(network_filters.to_cluster("a"))
    assert proxy.HasField("idle_timeout")
    assert proxy.idle_timeout.ToNanoseconds() == 0


def test_the_counters_are_the_clusters_unless_named() -> None:
    assert read(network_filters.to_cluster("a")).stat_prefix == "a"
    assert read(network_filters.to_cluster("a", stat_prefix="b")).stat_prefix == "b"


def test_further_state_comes_after_the_identity() -> None:
    config = read(network_filters.outbound_state({"x": ("envoy.string", "y")}))
    assert [each.object_key for each in config.on_new_connection] == ["hostmesh.identity", "x"]


def test_state_alone_says_nothing_of_an_identity() -> None:
    config = read(network_filters.filter_state({"x": ("envoy.string", "y")}))
    assert [each.object_key for each in config.on_new_connection] == ["x"]


def test_a_policy_that_does_not_come_lets_nobody_in() -> None:
    source = network_filters.discovered_policy("inbound|tcp|1").config_discovery
    rules = message(source.default_config.type_url, source.default_config.value).rules
    assert rules.Action.Name(rules.action) == "ALLOW"
    assert not rules.policies
    assert not source.apply_default_config_without_warming


def test_the_listener_filters_are_stock() -> None:
    made = (
        network_filters.original_dst(),
        network_filters.tls_inspector(),
        network_filters.http_inspector(),
    )
    assert [each.name.rpartition(".")[2] for each in made] == [
        "original_dst",
        "tls_inspector",
        "http_inspector",
    ]
