"""What is rendered while things happen: apps die, policy comes, ports and states change."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

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
from hostmesh_core.ids import Identity
from hostmesh_core.model import InboundMode, MeshChange, Port, Protocol, Service, ServiceState
from hostmesh_core.xds.resource import resource
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_ctl.demo.processes import Running
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.certificates import authority
from hostmesh_testing.render_ads import secrets
from hostmesh_testing.render_lab import Sidecar, capture_inbound, capture_outbound
from hostmesh_testing.waiting import wait_until

HTTP, TCP = 9080, 5432
URL = f"http://240.240.0.1:{HTTP}/"
ROUTE = "inbound|http|9080"


@dataclass
class Trio:
    """A client and two servers of one service."""

    client: Host
    servers: list[Host]
    apps: list[Running]
    publication: Publication
    near: Sidecar
    far: list[Sidecar]

    def change(self, change: MeshChange) -> None:
        self.near.ads.changed(self.publication.apply([change]))

    def settle(self) -> None:
        for each in (self.near, *self.far):
            wait_until(each.ads.settled, what="every answer")
            assert each.ads.refused == []

    def seen(self, *words: str, url: str = URL) -> dict[str, str]:
        argv = ["curl", "-sS", "-m", "5", *words, url]
        answer = self.client.run(argv, uid=1001, check=False).stdout
        found: dict[str, str] = json.loads(answer) if answer.startswith("{") else {"": answer}
        return found

    def statuses(self, count: int, *words: str) -> list[str]:
        """Send requests over one connection and give what each got."""
        argv = ["curl", "-sS", "-m", "5", "-w", "%{http_code} ", *words]
        for _ in range(count):
            argv += ["-o", "/dev/null", URL]
        return self.client.run(argv, uid=1001, check=False).stdout.split()


def _app(host: Host, kind: str, port: int) -> Running:
    words = ["-m", "hostmesh_ctl.demo.apps", kind, "--name", host.name, "--port", str(port)]
    return host.spawn(f"{kind}-{port}", [sys.executable, *words], uid=1002)


def _reviews(servers: list[Host]) -> Service:
    registered = (mesh.endpoint(each.ipv4, HTTP, service="reviews") for each in servers)
    return mesh.service("reviews", *registered)


@pytest.fixture
def trio() -> Iterator[Trio]:
    with Lab() as lab:
        client = lab.host("client")
        servers = [lab.host("one"), lab.host("two")]
        db = mesh.service(
            "db",
            mesh.endpoint(servers[0].ipv4, TCP, service="db"),
            number=2,
            ports=(Port(TCP, Protocol.TCP),),
        )
        publication = mesh.published(_reviews(servers), db)
        ports = (
            mesh.inbound_port(HTTP),
            mesh.inbound_port(TCP, protocol=Protocol.TCP, identity=Identity("default", "db")),
        )
        root = authority()
        own = [Identity("default", name) for name in ("reviews", "db")]
        far, apps = [], []
        for each in servers:
            publication.set_inbound(each.name, mesh.inbound(*ports))
            apps.append(_app(each, "http", HTTP))
            _app(each, "echo", TCP)
            capture_inbound(each, HTTP, TCP, 9081)
            rendered = publication.resources(mesh.NO_IDENTITY, each.name)
            far.append(Sidecar(each, rendered, secrets(root, mesh.TRUST_DOMAIN, *own)))
        capture_outbound(client, uids={})
        near = Sidecar(
            client,
            publication.resources(mesh.SCOPE, "client"),
            secrets(root, mesh.TRUST_DOMAIN, mesh.SHOP),
        )
        yield Trio(client, servers, apps, publication, near, far)
        for sidecar in (near, *far):
            sidecar.stop()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_app_killed_behind_its_living_envoy_fails_no_request(trio: Trio, method: str) -> None:
    words = ["-X", method, *(["-d", "x"] if method == "POST" else [])]
    assert set(trio.statuses(20, *words)) == {"200"}
    trio.apps[0].signal(signal.SIGKILL)
    trio.apps[0].wait(5)
    assert trio.statuses(100, *words) == ["200"] * 100
    assert trio.near.stat("cluster.outbound|9080||reviews.default.mesh.internal.upstream_rq_retry")


def test_the_mark_of_an_undelivered_request_is_not_shown_to_apps(trio: Trio) -> None:
    for app in trio.apps:
        app.signal(signal.SIGKILL)
        app.wait(5)
    argv = ["curl", "-sS", "-i", "-m", "5", URL]
    answer = trio.client.run(argv, uid=1001).stdout
    assert answer.startswith("HTTP/1.1 503")
    assert "undelivered" not in answer


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


HELD = """
import http.client, sys
c = http.client.HTTPConnection("240.240.0.1", 9080, timeout=5)
c.connect()
first = c.sock.getsockname()
for line in sys.stdin:
    c.request("GET", "/")
    r = c.getresponse(); r.read()
    same = c.sock is not None and c.sock.getsockname() == first
    print(r.status, "same" if same else "another", flush=True)
"""


def test_policy_is_set_changed_and_removed_on_a_held_connection(trio: Trio) -> None:
    """Each slot by its own means: routes, and ECDS where the substance cannot come by route."""
    trio.change(MeshChange(_reviews([]).host, None, _reviews(trio.servers[:1])))
    trio.settle()
    far = trio.far[0]
    probe = _Held(trio.client)
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


class _Held:
    """One client connection that is kept, and asked over again and again."""

    def __init__(self, host: Host) -> None:
        words = host.argv([sys.executable, "-u", "-c", HELD], uid=1001)
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.all_same = True

    def ask(self) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        self.all_same = self.all_same and answer.endswith(" same")
        return answer

    def until(self, status: str, what: str) -> None:
        got: list[str] = []

        def answered() -> bool:
            got.append(self.ask().split()[0])
            return got[-1] == status

        try:
            wait_until(answered)
        except AssertionError:
            pytest.fail(f"{what}: wanted {status}, got {sorted(set(got))}")

    def close(self) -> None:
        self._process.communicate(timeout=5)


def test_the_control_case_a_listener_level_change_does_drain(trio: Trio) -> None:
    """What the test above would see if policy needed another listener."""
    far = trio.far[0]
    strict = mesh.inbound_port(3306, protocol=Protocol.TCP, mode=InboundMode.STRICT)
    ports = (mesh.inbound_port(HTTP), replace(strict, server_first=True))
    far.ads.changed(trio.publication.set_inbound("one", mesh.inbound(*ports)))
    wait_until(lambda: far.stat("listener_manager.listener_modified") == 1)
    assert far.stat("listener_manager.total_listeners_draining") == 1


def test_another_port_leaves_the_others_connections_alone(trio: Trio) -> None:
    trio.change(MeshChange(_reviews([]).host, None, _reviews(trio.servers[:1])))
    trio.settle()
    far, probe = trio.far[0], _Held(trio.client)
    assert probe.ask() == "200 same"
    more = (mesh.inbound_port(HTTP), mesh.inbound_port(9081, listen=(trio.servers[0].ipv4, HTTP)))
    far.ads.changed(trio.publication.set_inbound("one", mesh.inbound(*more)))
    wait_until(lambda: far.stat("listener_manager.listener_in_place_updated") == 1)
    assert [probe.ask() for _ in range(3)] == ["200 same"] * 3
    assert far.stat("listener_manager.total_listeners_draining") == 0
    argv = ["curl", "-sS", "-m", "5", f"http://{trio.servers[0].ipv4}:9081/"]
    answer = trio.servers[1].run(argv, uid=1001).stdout
    assert json.loads(answer)["server"] == "one"
    probe.close()


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


def test_a_service_is_meshed_host_by_host_under_load(trio: Trio) -> None:
    """plain, then mixed, then mesh: no request fails, and what is registered is never plaintext."""
    listed = [mesh.endpoint(each.ipv4, HTTP) for each in trio.servers]
    registered = [mesh.endpoint(each.ipv4, HTTP, service="reviews") for each in trio.servers]
    states = [
        (ServiceState.PLAIN, listed, {"one": False, "two": False}),
        (ServiceState.MIXED, [registered[0], listed[1]], {"one": True, "two": False}),
        (ServiceState.MIXED, registered, {"one": True, "two": True}),
        (ServiceState.MESH, registered, {"one": True, "two": True}),
        (ServiceState.MIXED, [registered[0], listed[1]], {"one": True, "two": False}),
    ]
    for state, endpoints, expected in states:
        service = mesh.service("reviews", *endpoints, state=state)
        trio.change(MeshChange(service.host, None, service))
        trio.settle()
        assert trio.near.warming() == 0
        got: dict[str, bool] = {}
        for _ in range(16):
            seen = trio.seen()
            got[seen["server"]] = bool(seen["client_certificate"])
        assert got == expected, state


def test_a_client_without_an_identity_is_told_so(trio: Trio) -> None:
    near = trio.near
    near.served.rendered = trio.publication.resources(mesh.NO_IDENTITY, "client")
    everything = {
        type_url: set(near.served.names(type_url))
        for type_url in (type_urls.CLUSTER, type_urls.ROUTE)
    }
    near.ads.changed(everything)
    trio.settle()
    argv = ["curl", "-sS", "-m", "5", "-w", "%{http_code}", URL]
    assert trio.client.run(argv, uid=1001).stdout == (
        "hostmesh: this process has no identity on this host; "
        "set outbound.default_identity or identities[]\n503"
    )


def test_a_client_that_connects_early_and_speaks_late_is_served(trio: Trio) -> None:
    code = (
        "import socket,time; s=socket.create_connection(('240.240.0.1',9080),5); time.sleep(2.5)\n"
        "s.sendall(b'GET / HTTP/1.1\\r\\nhost: reviews\\r\\n\\r\\n'); s.settimeout(5)\n"
        "print(s.recv(15).decode())"
    )
    assert trio.client.run([sys.executable, "-c", code], uid=1001).stdout == "HTTP/1.1 200 OK\n"


def test_a_host_that_vanishes_costs_nobody_a_request(trio: Trio) -> None:
    assert set(trio.statuses(20)) == {"200"}
    trio.servers[0].cut()
    begun = time.monotonic()
    assert trio.statuses(60) == ["200"] * 60
    assert time.monotonic() - begun < 5
    trio.servers[0].restore()
