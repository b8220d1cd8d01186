import pytest

from hostmesh_controlplane.logic.identities import (
    accepted,
    accounts_named,
    service_host,
    short_name,
)
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import Identity, SpiffeId


def test_only_exact_grants_widen_what_clients_accept() -> None:
    grants = [
        Grant((Claim("default", "batch", "reviews"), Claim("default", "*", "reviews"))),
        Grant((Claim("default", "canary", "reviews"), Claim("default", "ops", "rev*"))),
        Grant((Claim("shop", "api", "api.example.com"), Claim("default", "client"))),
    ]
    assert accounts_named(grants, mesh_domain="mesh.internal") == {
        "reviews.default.mesh.internal": (
            Identity("default", "batch"),
            Identity("default", "canary"),
        ),
        "api.example.com": (Identity("shop", "api"),),
    }


@pytest.mark.parametrize(
    ("host", "short"),
    [
        ("reviews.default.mesh.internal", "reviews"),
        ("reviews.shop.mesh.internal", ""),
        ("a.b.default.mesh.internal", ""),
        ("reviews.default.svc.cluster.local", ""),
        ("default.mesh.internal", ""),
    ],
)
def test_short_names_are_of_mesh_names_of_the_own_namespace(host: str, short: str) -> None:
    assert short_name(host, "default", mesh_domain="mesh.internal") == short


def test_a_registration_may_name_a_service_in_short_or_in_full() -> None:
    assert service_host("web", "shop", mesh_domain="m.x") == "web.shop.m.x"
    assert service_host("Api.Example.com.", "shop", mesh_domain="m.x") == "api.example.com"


def test_accepted_ids_are_the_own_one_and_what_configuration_states() -> None:
    stated = SpiffeId.parse("spiffe://other.example/ns/a/sa/b")
    ids = accepted(
        "reviews",
        "default",
        trust_domain="mesh.internal",
        accounts=(Identity("default", "batch"),),
        stated=(stated, stated),
    )
    assert [str(one) for one in ids] == [
        "spiffe://mesh.internal/ns/default/sa/batch",
        "spiffe://mesh.internal/ns/default/sa/reviews",
        "spiffe://other.example/ns/a/sa/b",
    ]
    assert accepted("", "default", trust_domain="mesh.internal") == ()
