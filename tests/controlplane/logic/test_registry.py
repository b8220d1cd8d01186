from collections.abc import Iterator
from dataclasses import replace

import pytest

from hostmesh_controlplane.logic.entitlement import Why
from hostmesh_controlplane.logic.registry import decide
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import EndpointKey, Identity
from hostmesh_core.model import MAX_PORTS, Health, InboundMode, Port, Protocol
from hostmesh_testing.registry_world import DOMAIN, HOST, OTHER, WEB, World, key, keys_of, service


def test_what_the_grant_covers_is_registered_with_everything_that_was_said() -> None:
    said = service(
        labels={"version": "v2"},
        weight=7,
        health=pb.STATUS_HEALTHY,
        region="eu",
        zone="a",
        inbound_mode="strict",
        server_first=False,
    )
    decision = World().decide(said)
    (instance,) = decision.instances
    assert instance.service == WEB
    assert instance.port == Port(80, Protocol.HTTP)
    assert instance.keys == (key("10.0.0.4"),)
    assert str(instance.identity) == f"spiffe://{DOMAIN}/ns/default/sa/web"
    assert (instance.weight, instance.labels) == (7, (("version", "v2"),))
    assert (instance.locality.region, instance.locality.zone) == ("eu", "a")
    (accepted,) = decision.accepted
    assert accepted.inbound.mode is InboundMode.STRICT
    assert accepted.inbound.identity == Identity("default", "web")


class _AskedByKey(set[EndpointKey]):
    def __iter__(self) -> Iterator[EndpointKey]:
        raise AssertionError("every host of a service would walk through all of its keys")


def test_a_service_s_listed_keys_are_asked_for_and_not_walked_through() -> None:
    listed = _AskedByKey({key("10.0.0.9"), key("fd00::4"), key("10.0.0.4", 9999)})
    world = World(proven=frozenset({"10.0.0.4", "fd00::4"}), catalog={WEB: listed})
    assert keys_of(world.decide(service())) == ["[fd00::4]:8080"]


def test_a_new_instance_is_unhealthy_until_its_host_has_said_otherwise() -> None:
    (instance,) = World().decide(service()).instances
    assert (instance.health, instance.reasons) == (Health.UNHEALTHY, ("not checked yet",))


def test_a_protocol_that_nobody_stated_is_said_to_be_a_default() -> None:
    (instance,) = World().decide(service(protocol="")).instances
    assert instance.port == Port(80, Protocol.TCP, protocol_defaulted=True)


def test_what_is_only_declared_gets_inbound_resources_and_no_endpoint() -> None:
    decision = World().decide(service(declared_only=True))
    assert decision.instances == ()
    assert [item.inbound.service for item in decision.accepted] == [WEB]


def test_the_grant_s_labels_win_over_what_the_host_says() -> None:
    world = World(grant=Grant(claims=(Claim("default", "web", "web"),), labels=(("env", "prod"),)))
    (instance,) = world.decide(service(labels={"env": "dev", "version": "v1"})).instances
    assert instance.labels == (("env", "prod"), ("version", "v1"))


@pytest.mark.parametrize(
    ("catalog", "said", "world", "expected"),
    [
        pytest.param([], {}, {}, ["10.0.0.4:8080"], id="nothing said: the stream's source"),
        pytest.param(
            ["10.0.0.4"], {}, {}, ["10.0.0.4:8080"], id="the catalog lists the stream's source"
        ),
        pytest.param(
            ["10.1.0.4"],
            {},
            {"interfaces": {"10.1.0.4"}, "cidrs": ("10.1.0.0/24",)},
            ["10.1.0.4:8080"],
            id="the catalog lists another address of this host, covered by a CIDR",
        ),
        pytest.param(
            ["10.0.0.4"],
            {},
            {"proven": {"10.0.0.4", "fd00::4"}},
            ["10.0.0.4:8080"],
            id="only the family that the catalog lists",
        ),
        pytest.param(
            ["10.0.0.4", "fd00::4"],
            {},
            {"proven": {"10.0.0.4", "fd00::4"}},
            ["10.0.0.4:8080", "[fd00::4]:8080"],
            id="both families where the catalog lists both",
        ),
        pytest.param(
            [],
            {},
            {"proven": {"10.0.0.4", "fd00::4"}},
            ["10.0.0.4:8080", "[fd00::4]:8080"],
            id="no catalog: every proven family",
        ),
        pytest.param(
            ["10.0.0.9"],
            {},
            {},
            ["10.0.0.4:8080"],
            id="the catalog lists somebody else: the stream's source",
        ),
        pytest.param(
            [],
            {"addresses": ["10.7.0.4"]},
            {"cidrs": ("10.7.0.0/16",)},
            ["10.7.0.4:8080"],
            id="a stated address within a CIDR",
        ),
        pytest.param(
            ["10.0.0.4"],
            {"addresses": ["10.7.0.4"]},
            {"cidrs": ("10.7.0.0/16",)},
            ["10.0.0.4:8080"],
            id="the catalog's address goes before the stated one",
        ),
        pytest.param(
            [],
            {"endpoint_port": 9000},
            {},
            ["10.0.0.4:9000"],
            id="mesh_port: peers dial Envoy's own port",
        ),
    ],
)
def test_which_address_is_registered(
    catalog: list[str], said: dict[str, object], world: dict[str, object], expected: list[str]
) -> None:
    cidrs = world.get("cidrs", ())
    assert isinstance(cidrs, tuple)
    found = World(catalog={WEB: {key(address) for address in catalog}})
    found.grant = replace(found.grant, cidrs=cidrs)
    for name in ("interfaces", "proven"):
        value = world.get(name)
        if isinstance(value, set):
            setattr(found, name, frozenset(value))
    assert keys_of(found.decide(service(**said))) == expected


def test_a_second_family_that_is_not_proven_is_left_out_and_said_so() -> None:
    world = World(
        catalog={WEB: {key("10.0.0.4"), key("fd00::4")}}, interfaces=frozenset({"fd00::4"})
    )
    decision = world.decide(service())
    assert keys_of(decision) == ["10.0.0.4:8080"]
    assert "[fd00::4]:8080 refused" in decision.accepted[0].note


def test_what_a_host_holds_by_right_no_catalogs_word_takes_away() -> None:
    world = World(
        interfaces=frozenset({"172.17.0.1"}),
        catalog={WEB: {key("172.17.0.1")}},
        holders={key("10.0.0.4"): (HOST, WEB)},
    )
    decision = world.decide(service())
    assert keys_of(decision) == ["10.0.0.4:8080"]
    assert "172.17.0.1" in decision.accepted[0].note
    world.holders = {key("10.0.0.4"): (HOST, f"api.default.{DOMAIN}")}
    assert keys_of(world.decide(service())) == []


def test_a_stated_address_that_is_held_stays_whatever_a_catalog_lists() -> None:
    both = frozenset({"10.0.0.4", "10.99.0.4", "fd00::4"})
    world = World(
        proven=both,
        interfaces=both,
        catalog={WEB: {key("10.99.0.4"), key("fd00::4")}},
        holders={key("10.0.0.4"): (HOST, WEB)},
    )
    decision = world.decide(service(addresses=["10.0.0.4"]))
    assert keys_of(decision) == ["10.0.0.4:8080", "[fd00::4]:8080"]
    assert decision.accepted[0].note == (
        "web stays at 10.0.0.4 as services[].address says, though a catalog lists it at 10.99.0.4"
    )
    world.catalog = {WEB: {key("10.0.0.4"), key("10.99.0.4")}}
    decision = world.decide(service(addresses=["10.0.0.4"]))
    assert (keys_of(decision), decision.accepted[0].note) == (["10.0.0.4:8080"], "")


def test_a_stated_address_that_is_no_more_the_hosts_right_is_left_for_the_catalogs() -> None:
    world = World(
        proven=frozenset({"10.0.0.4"}),
        catalog={WEB: {key("10.0.0.4")}},
        holders={key("10.7.0.4"): (HOST, WEB)},
    )
    assert keys_of(world.decide(service(addresses=["10.7.0.4"]))) == ["10.0.0.4:8080"]


def test_a_refused_address_says_what_was_seen_what_is_covered_and_which_command_allows_it() -> None:
    world = World(
        source="192.168.0.4",
        proven=frozenset({"192.168.0.4"}),
        interfaces=frozenset({"10.1.0.4"}),
        catalog={WEB: {key("10.1.0.4")}},
    )
    (refusal,) = world.decide(service()).refused
    assert refusal.reason == (
        "web 10.1.0.4:8080 refused: the control plane sees 192.168.0.4 and the grant of host "
        f"7f3a1b2c… has no CIDR for 10.1.0.4; allow it with: hostmesh host grant {HOST} "
        "--add-cidr 10.1.0.4/32"
    )


def test_a_host_that_was_never_seen_has_no_address() -> None:
    (refusal,) = World(source="", proven=frozenset()).decide(service()).refused
    assert refusal.why is Why.ADDRESS
    assert "the control plane sees no address of this host" in refusal.reason


def test_after_a_restart_the_proven_addresses_count_without_a_stream() -> None:
    assert keys_of(World(source="").decide(service())) == ["10.0.0.4:8080"]


def test_a_key_that_another_host_has_registered_is_refused_until_its_lease_is_gone() -> None:
    world = World(holders={key("10.0.0.4"): (OTHER, f"api.default.{DOMAIN}")})
    (refusal,) = world.decide(service()).refused
    assert refusal.why is Why.TAKEN
    assert f"host {OTHER} has registered it for api.default.mesh.internal" in refusal.reason
    world.holders.clear()
    assert keys_of(world.decide(service())) == ["10.0.0.4:8080"]


def test_what_the_host_itself_has_registered_is_no_conflict() -> None:
    world = World(holders={key("10.0.0.4"): (HOST, WEB)})
    assert keys_of(world.decide(service())) == ["10.0.0.4:8080"]


def test_one_port_of_a_host_belongs_to_one_service() -> None:
    claims = (Claim("default", "web", "web"), Claim("default", "web", "api"))
    decision = World(grant=Grant(claims=claims)).decide(service(), service(service="api"))
    assert [item.declaration.written for item in decision.accepted] == ["web"]
    assert decision.refused[0].why is Why.TAKEN
    assert f"this host serves {WEB} on port 8080" in decision.refused[0].reason


def test_one_refused_service_does_not_take_the_others_down() -> None:
    decision = World().decide(service(service="payments"), service())
    assert [item.declaration.written for item in decision.accepted] == ["web"]
    assert [refusal.service for refusal in decision.refused] == ["payments"]


def _ports(name: str, count: int) -> list[pb.ServiceRegistration]:
    return [service(service=name, port=n, workload_port=n) for n in range(1000, 1000 + count)]


def test_a_service_on_too_many_ports_of_one_host_is_on_none_and_the_others_hold() -> None:
    claims = (Claim("default", "web", "web"), Claim("default", "web", "api"))
    world = World(grant=Grant(claims=claims))
    other = service(service="api", workload_port=80)
    full = f"web.default.{DOMAIN}"  # the same service, written in another way
    decision = world.decide(*_ports("web", MAX_PORTS), service(service=full), other)
    assert [item.declaration.written for item in decision.accepted] == ["api"]
    assert len(decision.refused) == MAX_PORTS + 1
    assert {refusal.why for refusal in decision.refused} == {Why.TOO_MANY}
    assert decision.refused[0].reason == (
        f"web:1000 refused: this host declares {WEB} on more than 64 ports; state at most 64 of "
        "them in services"
    )
    assert len(world.decide(*_ports("web", MAX_PORTS), other).accepted) == MAX_PORTS + 1


def test_of_a_service_on_too_many_ports_no_part_holds_either() -> None:
    world = World()
    host, around = world.parties()
    whole = decide(_ports("web", MAX_PORTS + 1), {}, host, around)
    part = decide(_ports("web", 2), {}, host, around, crowded=whole.crowded)
    assert part.accepted == ()


def test_a_token_that_requires_the_mesh_says_so_of_every_instance() -> None:
    world = World(grant=Grant(claims=(Claim("default", "web", "web"),), require_mesh=True))
    assert world.decide(service()).instances[0].require_mesh
