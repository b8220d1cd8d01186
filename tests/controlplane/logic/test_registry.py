from dataclasses import dataclass, field, replace

import pytest

from hostmesh_controlplane.logic.registry import (
    Claimant,
    Decision,
    Holder,
    Surroundings,
    Why,
    decide,
    outbound_identities,
)
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId
from hostmesh_core.model import Health, InboundMode, Port, Protocol

DOMAIN = "mesh.internal"
HOST = "7f3a1b2c" + "0" * 24
OTHER = "9b1c0d2e" + "0" * 24
WEB = f"web.default.{DOMAIN}"


def service(**fields: object) -> pb.ServiceRegistration:
    """Give a good registration of web, with these fields changed."""
    message = pb.ServiceRegistration(service="web", port=80, workload_port=8080, protocol="http")
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(message, name).extend(value)
        elif isinstance(value, dict):
            getattr(message, name).update(value)
        else:
            setattr(message, name, value)
    return message


@dataclass
class World:
    """A mesh around one host."""

    grant: Grant = field(default_factory=lambda: Grant(claims=(Claim("default", "web", "web"),)))
    source: str = "10.0.0.4"
    proven: frozenset[str] = frozenset({"10.0.0.4"})
    interfaces: frozenset[str] = frozenset()
    catalog: dict[str, set[EndpointKey]] = field(default_factory=dict)
    accepted: dict[str, set[SpiffeId]] = field(default_factory=dict)
    holders: dict[EndpointKey, Holder] = field(default_factory=dict)

    def decide(self, *services: pb.ServiceRegistration) -> Decision:
        host = Claimant(
            host_id=HOST,
            grant=self.grant,
            source=self.source,
            proven=self.proven,
            interfaces=self.interfaces,
        )
        around = Surroundings(
            mesh_domain=DOMAIN,
            catalogued=lambda name: self.catalog.get(name, set()),
            accepted_ids=lambda name: self.accepted.get(name, set()),
            holder=self.holders.get,
            reserved=("240.240.0.0/16", "fd48:6d65:7368::/64"),
        )
        return decide(services, {}, host, around)


def key(address: str, port: int = 8080) -> EndpointKey:
    return EndpointKey.of(address, port)


def keys_of(decision: Decision) -> list[str]:
    return [str(found) for instance in decision.instances for found in instance.keys]


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
        "7f3a1b2c… has no CIDR for 10.1.0.4; allow it with: hostmesh host grant 7f3a1b2c "
        "--add-cidr 10.1.0.4/32"
    )


def test_a_refused_service_says_what_is_covered_and_which_command_allows_it() -> None:
    (refusal,) = World().decide(service(service="payments")).refused
    assert refusal.reason == (
        "payments:80 refused: the grant of host 7f3a1b2c… covers default/web as web, not service "
        "default/payments as service account default/web; allow it with: hostmesh host grant "
        "7f3a1b2c --add-service default/payments --add-service-account default/web"
    )


@dataclass(frozen=True)
class Attempt:
    """One way to register what is not yours."""

    said: dict[str, object] = field(default_factory=dict)
    claims: tuple[Claim, ...] = (Claim("default", "web", "web"),)
    cidrs: tuple[str, ...] = ()
    interfaces: frozenset[str] = frozenset()
    why: Why = Why.NOT_GRANTED


PATTERN = (Claim("default", "*", "*"),)
ATTEMPTS = {
    "another service": Attempt({"service": "payments"}),
    "another namespace": Attempt({"namespace": "prod"}),
    "another service account": Attempt({"service_account": "admin"}),
    "another service under its own account": Attempt(
        {"service": "payments", "service_account": "payments"}
    ),
    "a full name in another namespace": Attempt({"service": f"web.prod.{DOMAIN}"}),
    "a full name in another namespace than stated": Attempt(
        {"service": f"web.prod.{DOMAIN}", "namespace": "default"}, why=Why.UNREADABLE
    ),
    "a name directly below the mesh domain": Attempt(
        {"service": f"control-plane.{DOMAIN}"}, why=Why.UNREADABLE
    ),
    "the mesh domain itself": Attempt({"service": DOMAIN}, why=Why.UNREADABLE),
    "a name three labels deep in the mesh domain": Attempt(
        {"service": f"a.web.default.{DOMAIN}"}, why=Why.UNREADABLE
    ),
    "another's Consul alias": Attempt({"service": "payments.service.consul"}),
    "its own service's Consul alias": Attempt({"service": "web.service.consul"}),
    "a Kubernetes name, by a pattern for all services": Attempt(
        {"service": "payments.prod.svc.cluster.local"}, claims=PATTERN
    ),
    "another service's account, by a pattern": Attempt(
        {"service_account": "payments"}, claims=PATTERN, why=Why.ACCOUNT_NOT_ACCEPTED
    ),
    "another namespace, by a pattern of the own one": Attempt(
        {"namespace": "prod"}, claims=PATTERN
    ),
    "anything at all, as a pure client": Attempt(claims=(Claim("default", "web"),)),
    "anything at all, with an empty grant": Attempt({"namespace": "default"}, claims=()),
    "a name in capital letters": Attempt({"service": "WEB"}, why=Why.UNREADABLE),
    "a name with a pattern in it": Attempt({"service": "w*b"}, why=Why.UNREADABLE),
    "a name that is a path": Attempt({"service": "../web"}, why=Why.UNREADABLE),
    "an empty name": Attempt({"service": ""}, why=Why.UNREADABLE),
    "a service account that is a path": Attempt(
        {"service_account": "web/../../hostmesh/host"}, why=Why.UNREADABLE
    ),
    "a namespace that is a pattern": Attempt({"namespace": "*"}, why=Why.UNREADABLE),
    "the address of another host": Attempt({"addresses": ["10.0.0.9"]}, why=Why.ADDRESS),
    "the address of another host beside its CIDR": Attempt(
        {"addresses": ["10.1.1.4"]}, cidrs=("10.1.0.0/24",), why=Why.ADDRESS
    ),
    "an IPv6 address by an IPv4 CIDR": Attempt(
        {"addresses": ["::ffff:10.1.0.4"]}, cidrs=("10.1.0.0/24",), why=Why.ADDRESS
    ),
    "an address that it only says is an interface": Attempt(
        {"addresses": ["10.0.0.9"]}, interfaces=frozenset({"10.0.0.9"}), why=Why.ADDRESS
    ),
    "a virtual address, though its CIDR is everything": Attempt(
        {"addresses": ["240.240.0.7"]}, cidrs=("0.0.0.0/0",), why=Why.ADDRESS
    ),
    "an IPv6 virtual address": Attempt(
        {"addresses": ["fd48:6d65:7368::7"]}, cidrs=("::/0",), why=Why.ADDRESS
    ),
    "every address": Attempt({"addresses": ["0.0.0.0"]}, cidrs=("0.0.0.0/0",), why=Why.ADDRESS),
    "a multicast address": Attempt(
        {"addresses": ["224.0.0.1"]}, cidrs=("0.0.0.0/0",), why=Why.ADDRESS
    ),
    "everybody's own loopback": Attempt({"addresses": ["127.0.0.1"]}, why=Why.ADDRESS),
    "a link-local metadata service": Attempt({"addresses": ["169.254.169.254"]}, why=Why.ADDRESS),
    "a name for an address": Attempt({"addresses": ["db.internal"]}, why=Why.UNREADABLE),
    "two addresses of one family": Attempt(
        {"addresses": ["10.0.0.4", "10.0.0.9"]}, why=Why.UNREADABLE
    ),
    "port 0": Attempt({"port": 0, "workload_port": 0}, why=Why.UNREADABLE),
    "a port beyond the last": Attempt({"endpoint_port": 70000}, why=Why.UNREADABLE),
    "all of the service's requests, by its weight": Attempt(
        {"weight": 4_000_000_000}, why=Why.UNREADABLE
    ),
    "a protocol that is none": Attempt({"protocol": "gopher"}, why=Why.UNREADABLE),
    "an inbound mode that is none": Attempt({"inbound_mode": "off"}, why=Why.UNREADABLE),
    "a hundred labels": Attempt(
        {"labels": {f"k{number}": "v" for number in range(100)}}, why=Why.UNREADABLE
    ),
    "a listen address that is a name": Attempt({"listen": "db:5432"}, why=Why.UNREADABLE),
}


@pytest.mark.parametrize("declared_only", [False, True], ids=["registered", "only declared"])
@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_a_host_cannot_register(attempt: Attempt, *, declared_only: bool) -> None:
    world = World(
        grant=Grant(claims=attempt.claims, cidrs=attempt.cidrs), interfaces=attempt.interfaces
    )
    decision = world.decide(service(**attempt.said, declared_only=declared_only))
    assert decision.accepted == ()
    (refusal,) = decision.refused
    assert refusal.why is attempt.why
    assert "refused: " in refusal.reason


@pytest.mark.parametrize(
    ("claims", "said", "accepted"),
    [
        pytest.param(
            (Claim("default", "shared", "web"),),
            {},
            set[str](),
            id="an account that the grant names exactly with the service",
        ),
        pytest.param(PATTERN, {"service_account": "web"}, set[str](), id="its own, by a pattern"),
        pytest.param(
            PATTERN,
            {"service_account": "shared"},
            {f"spiffe://{DOMAIN}/ns/default/sa/shared"},
            id="one that the service's own configuration names",
        ),
        pytest.param(
            (Claim("default", "db", "db.corp.example"),),
            {"service": "db.corp.example"},
            set[str](),
            id="a name of another domain that the grant names exactly",
        ),
        pytest.param(
            (Claim("default", "db", "*.corp.example"),),
            {"service": "db.corp.example", "service_account": "db"},
            {f"spiffe://{DOMAIN}/ns/default/sa/db"},
            id="a name of another domain by a pattern of that domain",
        ),
    ],
)
def test_a_host_registers_what_it_is_entitled_to(
    claims: tuple[Claim, ...], said: dict[str, object], accepted: set[str]
) -> None:
    name = str(said.get("service", ""))
    host = name if "." in name else WEB
    world = World(grant=Grant(claims=claims))
    world.accepted = {host: {SpiffeId.parse(uri) for uri in accepted}}
    decision = world.decide(service(**{"namespace": "default", **said}))
    assert decision.refused == ()
    assert decision.instances[0].service == host


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
    assert "host 9b1c0d2e… has registered it for api.default.mesh.internal" in refusal.reason
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


def test_a_token_that_requires_the_mesh_says_so_of_every_instance() -> None:
    world = World(grant=Grant(claims=(Claim("default", "web", "web"),), require_mesh=True))
    assert world.decide(service()).instances[0].require_mesh


GRANT = Grant(claims=(Claim("default", "web"), Claim("prod", "api*")))


@pytest.mark.parametrize(
    ("stated", "grant", "expected", "refused"),
    [
        pytest.param(
            [],
            Grant(claims=(Claim("default", "web"),)),
            ((15001, Identity("default", "web")),),
            0,
            id="nothing stated: the only one",
        ),
        pytest.param([], GRANT, ((15001, Identity("default", "web")),), 0, id="one exact"),
        pytest.param(
            [],
            Grant(claims=(Claim("default", "a"), Claim("default", "b"))),
            (),
            0,
            id="several: none until it is named",
        ),
        pytest.param(
            [(15101, "prod", "api-1"), (15001, "default", "web")],
            GRANT,
            ((15001, Identity("default", "web")), (15101, Identity("prod", "api-1"))),
            0,
            id="stated ones that the grant covers",
        ),
        pytest.param([(15001, "prod", "root")], GRANT, (), 1, id="one that it does not cover"),
        pytest.param([(0, "default", "web")], GRANT, (), 1, id="no port"),
    ],
)
def test_who_speaks_on_the_outbound_ports(
    stated: list[tuple[int, str, str]],
    grant: Grant,
    expected: tuple[tuple[int, Identity], ...],
    refused: int,
) -> None:
    said = [
        pb.OutboundIdentity(capture_port=port, namespace=namespace, service_account=account)
        for port, namespace, account in stated
    ]
    found, refusals = outbound_identities(said, grant)
    assert found == expected
    assert len(refusals) == refused
