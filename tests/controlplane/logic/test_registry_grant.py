"""What a grant lets a host register and speak as, and everything that it does not."""

from dataclasses import dataclass, field

import pytest

from hostmesh_controlplane.logic.entitlement import Why
from hostmesh_controlplane.logic.registry import outbound_identities
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import Identity, SpiffeId
from hostmesh_testing.registry_world import DOMAIN, WEB, World, service


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
        {"addresses": ["64:ff9b::10.1.0.4"]}, cidrs=("10.1.0.0/24",), why=Why.ADDRESS
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
