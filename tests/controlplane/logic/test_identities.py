import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_controlplane.logic.identities import (
    AccountBook,
    accepted,
    service_host,
    short_name,
)
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import Identity, SpiffeId

NOTHING = Grant()
REVIEWS, DOMAIN = "reviews.default.mesh.internal", "mesh.internal"
BATCH, CANARY = Identity("default", "batch"), Identity("default", "canary")


def test_only_exact_grants_widen_what_clients_accept() -> None:
    book = AccountBook(DOMAIN)
    first = Grant((Claim("default", "batch", "reviews"), Claim("default", "*", "reviews")))
    second = Grant((Claim("default", "canary", "reviews"), Claim("default", "ops", "rev*")))
    third = Grant((Claim("shop", "api", "api.example.com"), Claim("default", "client")))
    assert book.replace(NOTHING, first) == {REVIEWS: (BATCH,)}
    assert book.replace(NOTHING, second) == {REVIEWS: (BATCH, CANARY)}
    assert book.replace(NOTHING, third) == {"api.example.com": (Identity("shop", "api"),)}


def test_an_account_is_named_as_long_as_one_grant_names_it() -> None:
    book, grant = AccountBook(DOMAIN), Grant((Claim("default", "batch", "reviews"),))
    assert book.replace(NOTHING, grant) == {REVIEWS: (BATCH,)}
    assert book.replace(NOTHING, grant) == {}, "a second host with the same grant changes nothing"
    assert book.replace(grant, NOTHING) == {}, "the other one still names it"
    assert book.replace(grant, NOTHING) == {REVIEWS: ()}


@given(st.lists(st.frozensets(st.sampled_from(["a", "b", "c"])), max_size=12))
def test_any_history_of_one_grant_ends_where_the_last_one_says(
    history: list[frozenset[str]],
) -> None:
    book, known = AccountBook(DOMAIN), NOTHING
    told: dict[str, tuple[Identity, ...]] = {}
    for names in history:
        grant = Grant(tuple(Claim("default", name, "reviews") for name in sorted(names)))
        told |= book.replace(known, grant)
        known = grant
    last = sorted(history[-1]) if history else []
    assert told.get(REVIEWS, ()) == tuple(Identity("default", name) for name in last)


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
