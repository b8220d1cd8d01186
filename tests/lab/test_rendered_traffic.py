"""What is rendered, in the real Envoy: accepted as it is, and doing what it says."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from hostmesh_controlplane.logic.publication import Publication
from hostmesh_core.ids import EndpointKey, Identity
from hostmesh_core.model import InboundMode, Port, Protocol, Service, ServiceState
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.certificates import authority
from hostmesh_testing.render_ads import secrets
from hostmesh_testing.render_lab import (
    Sidecar,
    capture_address,
    capture_inbound,
    capture_outbound,
)

HTTP, STRICT, TCP, GREET, MIXED, IMPOSTOR = 9080, 9081, 5432, 3306, 9083, 9085
BATCH_UID, STRANGER_UID = 2002, 2003
HANDSHAKES = "listener.[__]_15006.ssl.handshake"
SHOP = f"spiffe://{mesh.TRUST_DOMAIN}/ns/default/sa/shop"
BATCH = f"spiffe://{mesh.TRUST_DOMAIN}/ns/default/sa/batch"
VIP = {"4": "240.240.0.{}", "6": "[fd48:6d65:7368::{}]"}


@dataclass
class Pair:
    """A client and a server, both meshed, and a host without a mesh."""

    client: Host
    server: Host
    outsider: Host
    publication: Publication
    near: Sidecar
    far: Sidecar

    def curl(self, url: str, *words: str, uid: int = 1001, host: Host | None = None) -> str:
        argv = ["curl", "-sS", "-m", "5", *words, url]
        return (host or self.client).run(argv, uid=uid, check=False).stdout

    def seen(
        self, url: str, *words: str, uid: int = 1001, host: Host | None = None
    ) -> dict[str, str]:
        answer = self.curl(url, *words, uid=uid, host=host)
        found: dict[str, str] = json.loads(answer) if answer.startswith("{") else {"": answer}
        return found

    def talk(self, address: str, port: int, text: str, *, uid: int = 1001) -> str:
        """Send a line over TCP and give what came back, the greeting included."""
        code = (
            "import socket,sys; s=socket.create_connection((sys.argv[1],int(sys.argv[2])),5);"
            "s.settimeout(5); g=s.recv(99) if sys.argv[4]=='greet' else b'';"
            "s.sendall(sys.argv[3].encode()); print((g+s.recv(99)).decode())"
        )
        greets = "greet" if port == GREET else ""
        words = [sys.executable, "-c", code, address, str(port), text, greets]
        return self.client.run(words, uid=uid, check=False).stdout.strip()


SERVED = (
    # name, number, port, protocol, inbound mode, app
    ("reviews", 1, HTTP, Protocol.HTTP, InboundMode.PERMISSIVE, "http"),
    ("ratings", 2, STRICT, Protocol.HTTP, InboundMode.STRICT, "http"),
    ("db", 3, TCP, Protocol.TCP, InboundMode.PERMISSIVE, "echo"),
    ("mysql", 4, GREET, Protocol.TCP, InboundMode.STRICT, "greet"),
    ("mixed", 5, MIXED, Protocol.HTTP, InboundMode.PERMISSIVE, "http"),
    ("impostor", 6, IMPOSTOR, Protocol.HTTP, InboundMode.STRICT, "http"),
)


def _services(server: Host, outsider: Host) -> Iterator[Service]:
    """Each on the server by both families; `mixed` and `plain` on the outsider too."""
    stray = mesh.endpoint(outsider.ipv4, MIXED)
    for name, number, port, protocol, _, _ in SERVED:
        keys = EndpointKey.of(server.ipv4, port), EndpointKey.of(server.ipv6, port)
        registered = mesh.endpoint(server.ipv4, port, service=name, additional=keys[1:])
        one = mesh.service(name, registered, number=number, ports=(Port(port, protocol),))
        if name == "mixed":
            one = replace(one, state=ServiceState.MIXED, endpoints=(registered, stray))
        yield one
    yield replace(
        mesh.service("plain", stray, number=7, ports=(Port(MIXED, Protocol.HTTP),)),
        state=ServiceState.PLAIN,
        identities=(),
    )


def _publish(server: Host, outsider: Host) -> Publication:
    publication = mesh.published(*_services(server, outsider))
    ports = (
        mesh.inbound_port(
            port,
            protocol=protocol,
            service=f"{name}.default.{mesh.TRUST_DOMAIN}",
            identity=Identity("default", _account(name)),
            mode=mode,
            server_first=port == GREET,
        )
        for name, _, port, protocol, mode, _ in SERVED
    )
    publication.set_inbound("server", mesh.inbound(*ports))
    publication.set_inbound("client", mesh.inbound())
    return publication


def _account(service: str) -> str:
    """The impostor really serves under another account than its clients accept."""
    return "ratings" if service == "impostor" else service


def _start(host: Host, kind: str, name: str, port: int) -> None:
    words = ["-m", "hostmesh_ctl.demo.apps", kind, "--name", name, "--port", str(port)]
    host.spawn(f"{kind}-{port}", [sys.executable, *words], uid=1002)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Lab() as lab:
        client, server, outsider = lab.host("client"), lab.host("server"), lab.host("outsider")
        publication = _publish(server, outsider)
        for name, _, port, _, _, kind in SERVED:
            _start(server, kind, name, port)
        _start(server, "http", "undeclared", 9999)
        _start(outsider, "http", "outsider", MIXED)
        capture_inbound(server, *(port for _, _, port, _, _, _ in SERVED), 9999)
        capture_outbound(client, uids={BATCH_UID: 15101, STRANGER_UID: 15102})
        for address in (server.ipv4, server.ipv6):
            for port in (HTTP, TCP, IMPOSTOR):
                capture_address(client, address, port)
        root = authority()
        own = [Identity("default", _account(name)) for name, *_ in SERVED]
        far = Sidecar(
            server,
            publication.resources(mesh.NO_IDENTITY, "server"),
            secrets(root, mesh.TRUST_DOMAIN, *own),
        )
        near = Sidecar(
            client,
            publication.resources(mesh.TWO_IDENTITIES, "client"),
            secrets(root, mesh.TRUST_DOMAIN, mesh.SHOP, mesh.BATCH),
        )
        yield Pair(client, server, outsider, publication, near, far)
        near.stop()
        far.stop()


def test_nothing_is_refused_and_nothing_warms(pair: Pair) -> None:
    assert pair.near.ads.refused == []
    assert pair.far.ads.refused == []
    assert {"CDS", "EDS", "LDS", "RDS"} <= pair.near.ads.acked.keys()
    assert pair.near.warming() == pair.far.warming() == 0


@pytest.mark.parametrize("family", ["4", "6"])
@pytest.mark.parametrize(
    ("words", "protocol"),
    [
        pytest.param([], "HTTP/1.1", id="HTTP/1.1"),
        pytest.param(["--http1.0"], "HTTP/1.1", id="HTTP/1.0"),
        pytest.param(["-X", "POST", "-d", "x"], "HTTP/1.1", id="POST"),
    ],
)
def test_http_to_a_virtual_address_is_mtls_with_the_callers_identity(
    pair: Pair, family: str, words: list[str], protocol: str
) -> None:
    seen = pair.seen(f"http://{VIP[family].format(1)}:{HTTP}/a", *words)
    assert f"URI={SHOP}" in seen["client_certificate"], seen
    assert (seen["server"], seen["protocol"]) == ("reviews", protocol)


@pytest.mark.parametrize(
    "host",
    ["reviews", "reviews.default", "reviews.default.mesh.internal", "reviews.service.consul:9080"],
)
def test_a_service_is_routed_by_each_of_its_names(pair: Pair, host: str) -> None:
    seen = pair.seen(f"http://240.240.0.1:{HTTP}/", "-H", f"Host: {host}")
    assert seen["server"] == "reviews"


def test_an_unknown_name_at_a_virtual_address_is_answered_with_a_reason(pair: Pair) -> None:
    url = f"http://240.240.0.1:{HTTP}/"
    answer = pair.curl(url, "-H", "Host: nobody.example", "-w", "%{http_code}")
    assert answer == f"hostmesh: no HTTP service of the mesh has this name on port {HTTP}\n404"


def test_a_virtual_address_of_nobody_is_closed(pair: Pair) -> None:
    assert pair.curl("http://240.240.9.9:7777/", "-w", "%{http_code}") == "000"


@pytest.mark.parametrize("family", ["4", "6"])
def test_strict_http_takes_the_mesh_and_refuses_plaintext(pair: Pair, family: str) -> None:
    seen = pair.seen(f"http://{VIP[family].format(2)}:{STRICT}/")
    assert f"URI={SHOP}" in seen["client_certificate"]
    own = _address(pair.server, family)
    status = pair.curl(f"http://{own}:{STRICT}/", "-w", "%{http_code}", host=pair.outsider)
    assert status == "000"


def test_permissive_http_takes_plaintext_and_no_claimed_certificate(pair: Pair) -> None:
    url = f"http://{pair.server.ipv4}:{HTTP}/"
    forged = ["-H", f"x-forwarded-client-cert: URI={SHOP}"]
    seen = pair.seen(url, *forged, host=pair.outsider)
    assert (seen["server"], seen["client_certificate"]) == ("reviews", "")


def test_an_undeclared_port_is_never_forwarded(pair: Pair) -> None:
    url = f"http://{pair.server.ipv4}:9999/"
    assert pair.curl(url, "-w", "%{http_code}", host=pair.outsider) == "000"


@pytest.mark.parametrize("address", ["240.240.0.3", "fd48:6d65:7368::3"])
def test_tcp_to_a_virtual_address_is_mtls(pair: Pair, address: str) -> None:
    before = pair.far.stat(HANDSHAKES)
    assert pair.talk(address, TCP, "hello") == "hello"
    assert pair.far.stat(HANDSHAKES) == before + 1


def test_a_server_that_speaks_first_is_not_held_up(pair: Pair) -> None:
    answer = pair.talk("240.240.0.4", GREET, "hello")
    assert answer.split() == ["220", "mysql", "speaks", "first", "hello"]


@pytest.mark.parametrize("family", ["4", "6"])
def test_a_registered_instances_own_address_is_mtls_whatever_the_host_header_says(
    pair: Pair, family: str
) -> None:
    seen = pair.seen(f"http://{_address(pair.server, family)}:{HTTP}/", "-H", "Host: ratings")
    assert (seen["server"], f"URI={SHOP}" in seen["client_certificate"]) == ("reviews", True)


@pytest.mark.parametrize("family", ["4", "6"])
def test_tcp_to_an_instances_own_address_is_mtls(pair: Pair, family: str) -> None:
    address = pair.server.ipv4 if family == "4" else pair.server.ipv6
    before = pair.far.stat(HANDSHAKES)
    assert pair.talk(address, TCP, "hello") == "hello"
    assert pair.far.stat(HANDSHAKES) == before + 1


@pytest.mark.parametrize("family", ["4", "6"])
def test_an_instances_own_address_under_another_identity_is_refused(
    pair: Pair, family: str
) -> None:
    before = pair.near.stat("cluster.DirectCluster.ssl.fail_verify_san")
    url = f"http://{_address(pair.server, family)}:{IMPOSTOR}/"
    assert pair.curl(url, "-w", "%{http_code}") == "000"
    assert pair.near.stat("cluster.DirectCluster.ssl.fail_verify_san") > before


def test_a_service_under_another_identity_is_refused(pair: Pair) -> None:
    url = f"http://240.240.0.6:{IMPOSTOR}/"
    assert pair.curl(url, "-o", "/dev/null", "-w", "%{http_code}") == "503"


def test_two_identities_never_share_a_connection(pair: Pair) -> None:
    url = f"http://240.240.0.1:{HTTP}/"
    got = [
        pair.seen(url, uid=uid)["client_certificate"] for _ in range(4) for uid in (1001, BATCH_UID)
    ]
    assert [SHOP in each for each in got] == [True, False] * 4
    assert [BATCH in each for each in got] == [False, True] * 4


def test_a_process_on_a_port_without_identity_is_refused_by_the_server(pair: Pair) -> None:
    status = pair.curl(f"http://240.240.0.1:{HTTP}/", "-w", "%{http_code}", uid=STRANGER_UID)
    assert status.endswith("503")


def test_a_mixed_service_is_reached_by_each_endpoints_own_mode(pair: Pair) -> None:
    url = f"http://240.240.0.5:{MIXED}/"
    got = {(seen["server"], SHOP in seen["client_certificate"]) for seen in _many(pair, url)}
    assert got == {("mixed", True), ("outsider", False)}


def test_a_plain_service_is_reached_in_plaintext(pair: Pair) -> None:
    seen = pair.seen(f"http://240.240.0.7:{MIXED}/")
    assert (seen["server"], seen["client_certificate"]) == ("outsider", "")


def _address(host: Host, family: str) -> str:
    return host.ipv4 if family == "4" else f"[{host.ipv6}]"


def _many(pair: Pair, url: str) -> Iterator[dict[str, str]]:
    return (pair.seen(url) for _ in range(12))
