from dataclasses import replace

from immutables import Map

from hostmesh_controlplane.logic.catalog import CatalogService
from hostmesh_controlplane.logic.visibility import AliasClaims, claimants, lost, reclaimed
from hostmesh_testing.catalogs import RATINGS, REVIEWS, RULES, Mesh, service

CONSUL_NAME = "reviews.service.consul"


def named(*aliases: str, host: str = REVIEWS) -> CatalogService:
    return replace(service("10.0.0.1:80", host=host), aliases=aliases)


def claimed(*claims: tuple[str, CatalogService]) -> AliasClaims:
    found: AliasClaims = Map()
    for source, listing in claims:
        after = ((source, listing),)
        found, _ = reclaimed(found, listing.host, before=(), after=after, rank=RULES.rank)
    return found


def test_a_name_that_one_service_claims_is_its_own() -> None:
    listing = named(CONSUL_NAME)
    claims = claimed(("dc1", listing))
    assert claimants(claims, CONSUL_NAME) == {REVIEWS}
    assert lost(claims, REVIEWS, (("dc1", listing),), exists=lambda _: False) == ()


def test_of_two_the_source_of_the_higher_precedence_counts_then_the_name() -> None:
    one, other = named("x.example"), named("x.example", host=RATINGS)
    by_source = claimed(("files", one), ("dc1", other))
    assert lost(by_source, RATINGS, (("dc1", other),), exists=lambda _: False) == (
        ("x.example", REVIEWS),
    )
    by_name = claimed(("dc1", one), ("dc1", other))
    assert lost(by_name, REVIEWS, (("dc1", one),), exists=lambda _: False) == (
        ("x.example", RATINGS),
    )


def test_a_change_touches_whoever_claims_the_same_name() -> None:
    one, other = named("x.example"), named("x.example", "y.example", host=RATINGS)
    claims = claimed(("dc1", one))
    claims, touched = reclaimed(
        claims, RATINGS, before=(), after=(("dc1", other),), rank=RULES.rank
    )
    assert touched == {REVIEWS}
    claims, touched = reclaimed(
        claims, RATINGS, before=(("dc1", other),), after=(), rank=RULES.rank
    )
    assert touched == {REVIEWS}
    assert dict(claims) == dict(claimed(("dc1", one)))


def test_the_same_names_again_touch_nobody() -> None:
    listings = (("dc1", named("x.example")),)
    claims = claimed(*listings)
    after, touched = reclaimed(claims, REVIEWS, before=listings, after=listings, rank=RULES.rank)
    assert after is claims
    assert touched == frozenset()


def test_a_services_own_name_comes_before_every_alias() -> None:
    mesh = Mesh()
    mesh.catalog("files", named(RATINGS))
    assert mesh.service(REVIEWS).aliases == (RATINGS,)

    step = mesh.catalog("dc1", named(host=RATINGS))

    assert {change.host for change in step.changes} == {REVIEWS, RATINGS}
    assert mesh.service(REVIEWS).aliases == ()
    assert mesh.service(REVIEWS).conflicts == (f"the name {RATINGS} leads to {RATINGS}",)
    mesh.catalog("dc1", None, host=RATINGS)
    assert mesh.service(REVIEWS).aliases == (RATINGS,)


def test_an_alias_goes_over_to_the_next_claimant() -> None:
    mesh = Mesh()
    mesh.catalog("files", named("x.example"))
    mesh.catalog("dc1", named("x.example", host=RATINGS))
    assert mesh.service(RATINGS).aliases == ()
    assert mesh.service(RATINGS).conflicts == (f"the name x.example leads to {REVIEWS}",)

    mesh.catalog("files", named())

    assert mesh.service(RATINGS).aliases == ("x.example",)
    assert mesh.service(RATINGS).conflicts == ()
