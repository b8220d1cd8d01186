from hostmesh_controlplane.logic.render.domains import PortDomains, claims
from hostmesh_controlplane.logic.render.views import VirtualHostFacts
from hostmesh_testing import render_mesh as mesh


def facts(name: str, **changes: object) -> VirtualHostFacts:
    number = 1 + sum(map(ord, name)) % 200
    return VirtualHostFacts.of(mesh.service(name, number=number, **changes), 9080)


def port(*services: VirtualHostFacts) -> PortDomains:
    made = PortDomains()
    for each in services:
        made.add(each)
    return made


def test_a_service_has_all_its_names_in_its_own_namespace() -> None:
    reviews = VirtualHostFacts.of(mesh.service("reviews"), 9080)
    assert port(reviews).owned(reviews, "default") == (
        "reviews.default.mesh.internal",
        "reviews.default.mesh.internal.",
        "240.240.0.1",
        "[fd48:6d65:7368::1]",
        "reviews",
        "reviews.service.consul",
        "reviews.default",
    )


def test_a_short_name_means_nothing_elsewhere() -> None:
    reviews = facts("reviews")
    assert "reviews" not in port(reviews).owned(reviews, "elsewhere")
    assert "reviews" not in port(reviews).owned(reviews, "")
    assert "reviews.default" in port(reviews).owned(reviews, "elsewhere")


def test_a_full_name_beats_an_alias_and_an_alias_a_qualified_short_name() -> None:
    own = facts("own", host="web.shop", short_name="", aliases=())
    alias = facts("alias", aliases=("web.shop",))
    short = facts("web", namespace="shop", aliases=())
    domains = port(own, alias, short)
    holders = [each.host for each in (own, alias, short) if "web.shop" in domains.owned(each, "x")]
    assert holders == ["web.shop"]
    domains.remove(own)
    assert "web.shop" in domains.owned(alias, "x")
    assert "web.shop" not in domains.owned(short, "x")


def test_a_short_name_beats_an_alias_in_its_namespace_only() -> None:
    web = facts("web", aliases=())
    alias = facts("alias", aliases=("web",))
    domains = port(web, alias)
    assert "web" in domains.owned(web, "default")
    assert "web" not in domains.owned(alias, "default")
    assert "web" in domains.owned(alias, "elsewhere")


def test_no_domain_has_two_owners_whatever_the_namespace() -> None:
    services = [
        facts("a", aliases=("x", "b", "A.example")),
        facts("b", aliases=("x", "a.example", "a.default")),
        facts("c", host="x", short_name="x", aliases=("c",)),
    ]
    domains = port(*services)
    for namespace in ("default", "elsewhere", ""):
        owned = [domain for each in services for domain in domains.owned(each, namespace)]
        assert len(owned) == len(set(owned))


def test_what_was_added_can_be_taken_out_again() -> None:
    one, two = facts("one"), facts("two")
    domains = port(one, two)
    domains.remove(one)
    assert domains.owned(two, "default") == port(two).owned(two, "default")


def test_a_service_without_addresses_has_names_only() -> None:
    bare = facts("bare", vip4="", vip6="", aliases=(), short_name="")
    assert [domain for _, domain, _ in claims(bare)] == [
        "bare.default.mesh.internal",
        "bare.default.mesh.internal.",
    ]


def test_what_is_no_name_takes_no_domain() -> None:
    odd = facts("odd", aliases=("*", "*.example", "a b", "", "Upper.Example", "under_score"))
    owned = port(odd).owned(odd, "default")
    assert [each for each in owned if "odd" not in each and ":" not in each][1:] == [
        "upper.example",
        "under_score",
    ]
