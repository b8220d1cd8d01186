import pytest

from hostmesh_controlplane.logic.render import http_filters
from hostmesh_testing.render_reading import message

DIRECTIONS = [http_filters.INBOUND, http_filters.OUTBOUND]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_slots_and_their_order_are_fixed(direction: str) -> None:
    assert [name.rpartition(".")[2] for name in http_filters.slot_names(direction)] == [
        "rbac_shadow",
        "ext_authz",
        "jwt_authn",
        "rbac",
        "local_ratelimit",
        "ratelimit",
        "wasm",
        "fault",
        "grpc_stats",
        "on_demand",
        "router",
    ]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_discovered_slot_holds_nothing_up_and_is_off(direction: str) -> None:
    found = {
        slot.name: slot
        for slot in http_filters.slots(direction)
        if slot.HasField("config_discovery")
    }
    assert found.keys() == {f"hostmesh.{direction}.{slot}" for slot in http_filters.DISCOVERED}
    for slot in found.values():
        assert slot.disabled
        assert slot.config_discovery.apply_default_config_without_warming
        assert slot.config_discovery.default_config.type_url in slot.config_discovery.type_urls


@pytest.mark.parametrize("slot", ["ext_authz", "jwt_authn"])
def test_who_is_asked_for_and_not_there_yet_lets_nobody_in(slot: str) -> None:
    (found,) = [
        each for each in http_filters.slots("inbound") if each.name == f"hostmesh.inbound.{slot}"
    ]
    default = found.config_discovery.default_config
    rules = message(default.type_url, default.value).rules
    assert rules.Action.Name(rules.action) == "ALLOW"
    assert not rules.policies


def test_what_leaves_waits_for_a_cluster_and_what_comes_in_does_not() -> None:
    waits = {
        direction: not slot.disabled
        for direction in DIRECTIONS
        for slot in http_filters.slots(direction)
        if slot.name == http_filters.ON_DEMAND
    }
    assert waits == {http_filters.INBOUND: False, http_filters.OUTBOUND: True}
