from dataclasses import replace
from typing import Any

from hostmesh_controlplane.logic.render.routes import route_configuration
from hostmesh_controlplane.logic.render.views import RouteView, VirtualHostFacts
from hostmesh_controlplane.logic.render.virtual_hosts import PortVirtualHosts
from hostmesh_core import type_urls
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.render_reading import message

HERE = RouteView("default", anonymous=False)
AWAY = RouteView("elsewhere", anonymous=False)


def facts(name: str, **changes: Any) -> VirtualHostFacts:
    number = 1 + sum(map(ord, name)) % 200
    return VirtualHostFacts.of(mesh.service(name, number=number, **changes), 9080)


def port(*services: VirtualHostFacts) -> PortVirtualHosts:
    made = PortVirtualHosts()
    for each in services:
        made.replace(each.host, each)
    return made


def domains(hosts: PortVirtualHosts, view: RouteView = HERE) -> dict[str, list[str]]:
    """Virtual host -> domains, in the order in which they are sent."""
    body = route_configuration(9080, hosts.encoded(view))
    return {
        each.name: list(each.domains)
        for each in message(type_urls.ROUTE, body).virtual_hosts
        if each.name != "allow_any"
    }


def test_the_order_of_arrival_does_not_matter() -> None:
    one, two, three = facts("one"), facts("two"), facts("three")
    first, second = port(one, two, three), port(three, one, two)
    assert [*first.encoded(HERE)] == [*second.encoded(HERE)]
    assert list(domains(first)) == sorted(domains(first))


def test_the_others_bytes_are_kept_when_one_changes() -> None:
    one, two = facts("one"), facts("two")
    hosts = port(one, two)
    before = list(hosts.encoded(HERE))
    hosts.replace(one.host, replace(one, aliases=()))
    after = list(hosts.encoded(HERE))
    assert before[1] is after[1]
    assert before[0] != after[0]


def test_foreign_namespaces_share_bytes_and_the_own_one_has_the_short_name() -> None:
    hosts = port(facts("one"))
    (here,), (away,), (further,) = (
        list(hosts.encoded(view)) for view in (HERE, AWAY, RouteView("further", anonymous=False))
    )
    assert away is further
    assert here != away


def test_a_rival_is_rendered_anew_when_a_name_changes_hands() -> None:
    one, two = facts("one", aliases=("x",)), facts("two", aliases=("x",))
    hosts = port(one, two)
    holder = "two.default.mesh.internal:9080"
    assert "x" not in domains(hosts)[holder]
    hosts.replace(one.host, replace(one, aliases=()))
    assert "x" in domains(hosts)[holder]
    hosts.replace(one.host, one)
    assert "x" not in domains(hosts)[holder]


def test_a_short_name_that_is_elsewhere_an_alias_differs_by_namespace() -> None:
    web, alias = facts("web", aliases=()), facts("alias", aliases=("web",))
    hosts = port(web, alias)
    name = "alias.default.mesh.internal:9080"
    assert "web" not in domains(hosts)[name]
    assert "web" in domains(hosts, AWAY)[name]


def test_a_service_that_has_no_domain_is_left_out() -> None:
    nameless = facts("x", host="not a name", aliases=(), short_name="", vip4="", vip6="")
    assert domains(port(nameless, facts("one"))).keys() == {"one.default.mesh.internal:9080"}


def test_a_port_without_services_is_empty() -> None:
    hosts = port(facts("one"))
    hosts.replace("one.default.mesh.internal", None)
    assert not hosts
    assert list(hosts.encoded(HERE)) == []
