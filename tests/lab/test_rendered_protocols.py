"""What is rendered passes what apps speak, through both sidecars, over mTLS."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hostmesh_core.ids import EndpointKey, Identity
from hostmesh_core.model import InboundMode, Port, Protocol
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_testing import render_mesh as mesh
from hostmesh_testing.certificates import authority
from hostmesh_testing.render_ads import secrets
from hostmesh_testing.render_lab import Sidecar, capture_inbound, capture_outbound
from hostmesh_testing.waiting import wait_until

GRPC, WEBSOCKET, OWN, LOCAL, SLOW, HTTP = 50051, 9090, 9091, 9092, 3306, 9080
PEER = f"spiffe://{mesh.TRUST_DOMAIN}/ns/default/sa/shop"

GRPC_SERVER = """
import grpc, sys
from concurrent.futures import ThreadPoolExecutor
def once(request, context):
    context.set_trailing_metadata((("peer", dict(context.invocation_metadata()).get(
        "x-forwarded-client-cert", "")),))
    return request
def many(requests, context):
    for each in requests:
        yield each
handlers = {"Once": grpc.unary_unary_rpc_method_handler(once),
            "Many": grpc.stream_stream_rpc_method_handler(many)}
server = grpc.server(ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", handlers),))
server.add_insecure_port("[::]:50051"); server.start(); print("serving", flush=True)
server.wait_for_termination()
"""
GRPC_CLIENT = """
import grpc, sys
with grpc.insecure_channel(sys.argv[1]) as channel:
    answer, call = channel.unary_unary("/Echo/Once").with_call(b"x", timeout=5)
    many = list(channel.stream_stream("/Echo/Many")(iter([b"a", b"b"]), timeout=5))
    print(answer, many, dict(call.trailing_metadata())["peer"])
"""
WEBSOCKET_SERVER = """
import socket
from websockets.sync.server import serve
def echo(ws):
    for message in ws:
        ws.send(message)
listener = socket.create_server(("::", 9090), family=socket.AF_INET6, dualstack_ipv6=True)
serve(echo, sock=listener).serve_forever()
"""
WEBSOCKET_CLIENT = """
import sys
from websockets.sync.client import connect
with connect(sys.argv[1], proxy=None) as ws:
    ws.send("hello"); print(ws.recv(timeout=5))
"""
GREETING = """
import socket, sys, time
begun = time.monotonic()
s = socket.create_connection((sys.argv[1], 3306), 5); s.settimeout(9)
print(s.recv(99).decode().strip(), time.monotonic() - begun)
"""


@dataclass
class Pair:
    """A client and a server."""

    client: Host
    server: Host
    near: Sidecar
    far: Sidecar

    def python(self, code: str, *words: str, host: Host | None = None) -> str:
        argv = [sys.executable, "-c", code, *words]
        return (host or self.client).run(argv, uid=1001).stdout.strip()

    def curl(self, *words: str) -> str:
        return self.client.run(["curl", "-sS", "-m", "5", *words], uid=1001, check=False).stdout


SERVED = (
    # name, number, dialled port, endpoint's port, protocol
    ("grpc", 1, GRPC, GRPC, Protocol.GRPC),
    ("chat", 2, WEBSOCKET, WEBSOCKET, Protocol.HTTP),
    ("own", 3, HTTP, OWN, Protocol.HTTP),
    ("local", 4, LOCAL, LOCAL, Protocol.HTTP),
    ("slow", 5, SLOW, SLOW, Protocol.TCP),
)


def _inbound(name: str, port: int, protocol: Protocol) -> dict[str, object]:
    own: dict[str, object] = {}
    if name == "own":
        own = {"mesh_port": OWN, "workload_port": HTTP}
    if name == "local":
        own = {"listen": ("127.0.0.1", LOCAL), "mode": InboundMode.STRICT}
    return {
        "workload_port": port,
        "protocol": protocol,
        "service": f"{name}.default.{mesh.TRUST_DOMAIN}",
        "identity": Identity("default", name),
        **own,
    }


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Lab() as lab:
        client, server = lab.host("client"), lab.host("server")
        publication = mesh.published()
        inbound = []
        for name, number, port, endpoint_port, protocol in SERVED:
            six = EndpointKey.of(server.ipv6, endpoint_port)
            registered = mesh.endpoint(
                server.ipv4, endpoint_port, service=name, additional=(six,), service_port=port
            )
            service = mesh.service(name, registered, number=number, ports=(Port(port, protocol),))
            publication.apply(mesh.added(service))
            changes = _inbound(name, port, protocol)
            inbound.append(mesh.inbound_port(1, **changes))
        publication.set_inbound("server", mesh.inbound(*inbound))
        publication.set_inbound("client", mesh.inbound())
        apps = "hostmesh_ctl.demo.apps"
        for argv in (
            ["-c", GRPC_SERVER],
            ["-c", WEBSOCKET_SERVER],
            ["-m", apps, "http", "--name", "own", "--port", str(HTTP)],
            ["-m", apps, "http", "--name", "local", "--port", str(LOCAL), "--listen", "127.0.0.1"],
            ["-m", apps, "greet", "--name", "slow", "--port", str(SLOW)],
        ):
            server.spawn("app", [sys.executable, *argv], uid=1002)
        capture_inbound(server, GRPC, WEBSOCKET, LOCAL, SLOW)
        capture_outbound(client, uids={})
        root = authority()
        own = [Identity("default", name) for name, *_ in SERVED]
        far = Sidecar(
            server,
            publication.resources(mesh.NO_IDENTITY, "server"),
            secrets(root, mesh.TRUST_DOMAIN, *own),
        )
        near = Sidecar(
            client,
            publication.resources(mesh.SCOPE, "client"),
            secrets(root, mesh.TRUST_DOMAIN, mesh.SHOP),
        )
        wait_until(lambda: all(_listening(server, port) for port in (GRPC, WEBSOCKET)))
        yield Pair(client, server, near, far)
        near.stop()
        far.stop()


def _listening(host: Host, port: int) -> bool:
    return f":{port} " in host.run(["ss", "-ltn"]).stdout


def test_nothing_is_refused(pair: Pair) -> None:
    assert pair.near.ads.refused == pair.far.ads.refused == []


@pytest.mark.parametrize("address", ["240.240.0.1:50051", "[fd48:6d65:7368::1]:50051"])
def test_grpc_by_a_stock_library_on_both_sides(pair: Pair, address: str) -> None:
    answer = pair.python(GRPC_CLIENT, address)
    assert answer.startswith("b'x' [b'a', b'b']")
    assert f"URI={PEER}" in answer


def test_a_grpc_library_without_a_mesh_reaches_a_permissive_port(pair: Pair) -> None:
    answer = pair.python(GRPC_CLIENT, f"localhost:{GRPC}", host=pair.server)
    assert answer == "b'x' [b'a', b'b']"


@pytest.mark.parametrize("address", ["240.240.0.2", "[fd48:6d65:7368::2]"])
def test_websocket(pair: Pair, address: str) -> None:
    assert pair.python(WEBSOCKET_CLIENT, f"ws://{address}:{WEBSOCKET}/") == "hello"


def test_http2_to_an_http1_app(pair: Pair) -> None:
    words = ["--http2-prior-knowledge", "-w", "%{http_version}", "-o", "/dev/null"]
    assert pair.curl(*words, f"http://240.240.0.3:{HTTP}/") == "2"


def test_a_port_that_envoy_binds_itself_leads_to_the_app(pair: Pair) -> None:
    seen = json.loads(pair.curl(f"http://240.240.0.3:{HTTP}/"))
    assert (seen["server"], f"URI={PEER}" in seen["client_certificate"]) == ("own", True)
    # Nothing captures that app's port, so nothing has to tell Envoy's connections apart.
    assert seen["peer"].endswith(pair.server.ipv4)


def test_an_app_on_loopback_is_reached_where_it_is_stated(pair: Pair) -> None:
    seen = json.loads(pair.curl(f"http://240.240.0.4:{LOCAL}/"))
    assert (seen["server"], seen["peer"]) == ("local", "127.0.0.1")


def test_a_server_that_speaks_first_undeclared_gets_through_to_the_mesh_at_once(
    pair: Pair,
) -> None:
    """The sidecar's TLS speaks first there; only a plaintext caller waits for the inspector."""
    text, _, took = pair.python(GREETING, "240.240.0.5").rpartition(" ")
    assert text == "220 slow speaks first"
    assert float(took) < 0.9


def test_a_plaintext_caller_of_it_waits_for_the_inspector_and_no_longer(pair: Pair) -> None:
    text, _, took = pair.python(GREETING, pair.server.ipv4).rpartition(" ")
    assert text == "220 slow speaks first"
    assert 4.9 < float(took) < 8
