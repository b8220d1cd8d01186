"""Policy comes and goes by routes and ECDS: nothing that is open is drained."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.rbac.v3 import rbac_pb2 as rules_pb2
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtProvider,
    PerRouteConfig,
)
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from google.protobuf.message import Message

from hostmesh_controlplane.logic.publication import Publication
from hostmesh_controlplane.logic.render.encoding import encode, packed
from hostmesh_core import type_urls
from hostmesh_core.model import InboundMode, MeshChange, Protocol
from hostmesh_core.xds.resource import resource
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing import render_trio
from hostmesh_testing.render_lab import Sidecar
from hostmesh_testing.render_trio import HTTP, TCP, HeldConnection, Trio, reviews
from hostmesh_testing.waiting import wait_until

ROUTE = "inbound|http|9080"


@pytest.fixture
def trio() -> Iterator[Trio]:
    yield from render_trio.trio()


def _policy(*slots: tuple[str, Message]) -> RouteConfiguration:
    """The inbound route of the HTTP port with policy on it."""
    publication = Publication()
    publication.set_inbound("x", mesh.inbound(mesh.inbound_port(HTTP)))
    rendered = publication.resources(mesh.SCOPE, "x").get(type_urls.ROUTE, ROUTE)
    assert rendered is not None
    route = RouteConfiguration.FromString(rendered.body)
    for name, config in slots:
        route.virtual_hosts[0].typed_per_filter_config[name].CopyFrom(packed(config))
    return route


def _deny() -> rules_pb2.RBAC:
    return rules_pb2.RBAC(action=rules_pb2.RBAC.ALLOW)


def _limit() -> LocalRateLimit:
    limit = LocalRateLimit(stat_prefix="x")
    limit.token_bucket.max_tokens = 1
    limit.token_bucket.tokens_per_fill.value = 1
    limit.token_bucket.fill_interval.seconds = 3600
    for part in (limit.filter_enabled, limit.filter_enforced):
        part.default_value.numerator = 100
    return limit


def _abort() -> HTTPFault:
    fault = HTTPFault()
    fault.abort.http_status = 418
    fault.abort.percentage.numerator = 100
    return fault


def test_policy_is_set_changed_and_removed_on_a_held_connection(trio: Trio) -> None:
    """Each slot by its own means: routes, and ECDS where the substance cannot come by route."""
    trio.change(MeshChange(reviews([]).host, None, reviews(trio.servers[:1])))
    trio.settle()
    far = trio.far[0]
    probe = HeldConnection(trio.client)
    jwt = TypedExtensionConfig(
        name="hostmesh.inbound.jwt_authn",
        typed_config=packed(
            JwtAuthentication(
                providers={"p": _provider()},
                requirement_map={"all": {"provider_name": "p"}},
            )
        ),
    )
    steps: list[tuple[str, list[tuple[str, Message]], list[TypedExtensionConfig], str]] = [
        ("nothing", [], [], "200"),
        ("rbac", [("envoy.filters.http.rbac", RBACPerRoute(rbac=RBAC(rules=_deny())))], [], "403"),
        ("rbac off", [], [], "200"),
        ("fault", [("envoy.filters.http.fault", _abort())], [], "418"),
        (
            "shadow only looks",
            [("hostmesh.rbac_shadow", RBACPerRoute(rbac=RBAC(shadow_rules=_deny())))],
            [],
            "200",
        ),
        (
            "jwt without its substance refuses",
            [("hostmesh.inbound.jwt_authn", PerRouteConfig(requirement_name="all"))],
            [],
            "403",
        ),
        (
            "jwt with it asks for a token",
            [("hostmesh.inbound.jwt_authn", PerRouteConfig(requirement_name="all"))],
            [jwt],
            "401",
        ),
        ("all off again", [], [], "200"),
    ]
    for what, slots, extensions, status in steps:
        _push(far, _policy(*slots), extensions)
        probe.until(status, what)
    assert probe.all_same, "the held connection was drained"
    limited = [("envoy.filters.http.local_ratelimit", _limit())]
    _push(far, _policy(*limited), [])
    probe.until("429", "the limit")
    assert probe.all_same
    assert far.ads.refused == []
    assert far.stat("listener_manager.total_filter_chains_draining") == 0
    assert far.stat("listener_manager.listener_in_place_updated") == 0
    probe.close()


def _provider() -> JwtProvider:
    key = {"kty": "oct", "alg": "HS256", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMy"}
    provider = JwtProvider(issuer="x")
    provider.local_jwks.inline_string = json.dumps({"keys": [key]})
    return provider


def _push(
    sidecar: Sidecar, route: RouteConfiguration, extensions: list[TypedExtensionConfig]
) -> None:
    served = sidecar.served
    touched: dict[str, set[str]] = {type_urls.ROUTE: {ROUTE}}
    named = {name for type_url, name in served.patched if type_url == type_urls.EXTENSION_CONFIG}
    named |= {each.name for each in extensions}
    for name in named:
        served.patched.pop((type_urls.EXTENSION_CONFIG, name), None)
    for each in extensions:
        key = (type_urls.EXTENSION_CONFIG, each.name)
        served.patched[key] = resource(*key, encode(each))
    if named:
        touched[type_urls.EXTENSION_CONFIG] = named
    served.patched[type_urls.ROUTE, ROUTE] = resource(type_urls.ROUTE, ROUTE, encode(route))
    sidecar.ads.changed(touched)
    wait_until(sidecar.ads.settled)


def test_the_control_case_a_listener_level_change_does_drain(trio: Trio) -> None:
    """What the test above would see if policy needed another listener."""
    far = trio.far[0]
    strict = mesh.inbound_port(3306, protocol=Protocol.TCP, mode=InboundMode.STRICT)
    ports = (mesh.inbound_port(HTTP), replace(strict, server_first=True))
    far.ads.changed(trio.publication.set_inbound("one", mesh.inbound(*ports)))
    wait_until(lambda: far.stat("listener_manager.listener_modified") == 1)
    # The old one drains once the new one has warmed.
    wait_until(lambda: far.stat("listener_manager.total_listeners_draining") == 1)


def test_a_tcp_policy_refuses_new_connections_and_drains_none(trio: Trio) -> None:
    far = trio.far[0]
    code = (
        "import socket,sys; s=socket.create_connection(('240.240.0.2',5432),5); s.settimeout(5)\n"
        "for line in sys.stdin: s.sendall(b'x'); print(s.recv(1) or b'closed', flush=True)"
    )
    assert trio.client.run([sys.executable, "-c", code], uid=1001, text="\n").stdout == "b'x'\n"
    name = f"inbound|tcp|{TCP}"
    rules = network_rbac_pb2.RBAC(rules=_deny(), stat_prefix="x.")
    denied = TypedExtensionConfig(name=name, typed_config=packed(rules))
    key = (type_urls.EXTENSION_CONFIG, name)
    far.served.patched[key] = resource(*key, encode(denied))
    far.ads.changed({type_urls.EXTENSION_CONFIG: {name}})
    wait_until(far.ads.settled)
    got = trio.client.run([sys.executable, "-c", code], uid=1001, text="\n", check=False)
    assert got.stdout != "b'x'\n"
    del far.served.patched[key]
    far.ads.changed({type_urls.EXTENSION_CONFIG: {name}})
    wait_until(far.ads.settled)
    assert trio.client.run([sys.executable, "-c", code], uid=1001, text="\n").stdout == "b'x'\n"
    assert far.stat("listener_manager.listener_in_place_updated") == 0
