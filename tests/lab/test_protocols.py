"""Every protocol through both sidecars over mutual TLS, in STRICT, on IPv4 and IPv6."""

import json
import sys
from collections.abc import Iterator
from functools import partial

import pytest
from websockets.sync.client import connect as websocket

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Host, Lab
from hostmesh_ctl.demo.mesh import APP_UID, Agent, wait_for
from hostmesh_testing.lab_mesh import (
    CONTROL_PLANE,
    LabMesh,
    call,
    start_app,
    start_module,
    virtual_address,
)

CLIENT = "spiffe://mesh.internal/ns/default/sa/client"
HANDSHAKES = r"^listener\..*15006\.ssl\.handshake$"
BOTH = pytest.mark.parametrize("family", [4, 6], ids=["caller on IPv4", "caller on IPv6"])
UPSTREAM = pytest.mark.parametrize("wire", ["4", "6"], ids=["wire IPv4", "wire IPv6"])
PORTS = {"web": 9080, "greeter": 50050, "socket": 9380, "echo": 7000}


class Pair:
    """A client and a server that offers each protocol on an IPv4 and on an IPv6 endpoint."""

    def __init__(self, mesh: LabMesh) -> None:
        self.mesh = mesh
        server = mesh.host("server")
        entries, names = [], []
        for wire, address in (("4", server.ipv4), ("6", server.ipv6)):
            for name, port in PORTS.items():
                protocol = {"web": "http", "socket": "http", "greeter": "grpc"}.get(name, "tcp")
                number = port + int(wire)
                entries.append(
                    f"{{name: {name}{wire}, port: {number}, protocol: {protocol}, "
                    f"address: '{address}'}}"
                )
                names.append(f"{name}{wire}")
                self._start(server, name, f"{name}{wire}", number)
        start_app(server, "greet", "greet", 7025)
        entries.append("{name: greet, port: 7025, server_first: true, inbound: strict}")
        words = [word for name in [*names, "greet"] for word in ("--service", name)]
        token = ["--service-account", "server", *words, "--cidr", "fd77::/64"]
        self.server = mesh.join(server, entries, token=token)
        self.client = mesh.join(mesh.host("client"))
        for name in names:
            mesh.wait_meshed(name, 1)

    @staticmethod
    def _start(server: Host, kind: str, name: str, port: int) -> None:
        match kind:
            case "web":
                start_app(server, "http", name, port)
            case "echo":
                start_app(server, "echo", name, port)
            case "greeter":
                words = ["hostmesh_testing.lab_apps.grpc_echo", str(port)]
                start_module(server, name, words)
            case _:
                words = ["hostmesh_testing.lab_apps.websocket_echo", str(port)]
                start_module(server, name, words)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Lab() as lab:
        yield Pair(LabMesh(lab, config=CONTROL_PLANE + "mtls: strict\n"))


def _handshakes(agent: Agent) -> int:
    return sum(agent.stats(HANDSHAKES).values())


@UPSTREAM
@BOTH
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_http(pair: Pair, version: str, family: int, wire: str) -> None:
    port = PORTS["web"] + int(wire)
    answer = call(pair.client.host, f"web{wire}", port, family=family, version=version)
    assert (answer.status, answer.said["server"]) == (200, f"web{wire}")
    assert answer.caller == CLIENT


@UPSTREAM
@BOTH
def test_grpc(pair: Pair, family: int, wire: str) -> None:
    address = virtual_address(pair.client.host, f"greeter{wire}", family)
    target = f"{address}:{PORTS['greeter'] + int(wire)}"
    target = f"ipv4:{target}" if family == 4 else f"ipv6:[{address}]:{target.rpartition(':')[2]}"
    support = next(path for path in sys.path if path.endswith("support"))
    words = ["env", f"PYTHONPATH={support}", sys.executable, "-m"]
    words += ["hostmesh_testing.lab_apps.grpc_call", target]
    said = json.loads(pair.client.host.run(words, uid=APP_UID).stdout)
    assert f"URI={CLIENT}" in said.pop("identity")
    assert said == {
        "unary": "hello",
        "trailers": "kept",
        "stream": ["A", "B", "C"],
        "failure": "FAILED_PRECONDITION",
    }


@UPSTREAM
@BOTH
def test_websocket(pair: Pair, family: int, wire: str) -> None:
    port = PORTS["socket"] + int(wire)
    address = virtual_address(pair.client.host, f"socket{wire}", family)
    made = inside.connect(pair.client.host.holder.pid, address, port)
    with websocket(f"ws://socket{wire}:{port}/", sock=made, compression=None) as connection:
        assert f"URI={CLIENT}" in str(connection.recv(timeout=5))
        for message in ("text", b"\x00\xff" * 40000):
            connection.send(message)
            assert connection.recv(timeout=5) == message


@UPSTREAM
@BOTH
def test_raw_tcp(pair: Pair, family: int, wire: str) -> None:
    before = _handshakes(pair.server)
    address = virtual_address(pair.client.host, f"echo{wire}", family)
    payload = bytes(range(256)) * 1024
    with inside.connect(pair.client.host.holder.pid, address, PORTS["echo"] + int(wire)) as made:
        made.sendall(payload)
        got = b""
        while len(got) < len(payload):
            got += made.recv(65536)
    assert got == payload
    assert _handshakes(pair.server) == before + 1


@BOTH
def test_a_server_that_speaks_first(pair: Pair, family: int) -> None:
    address = virtual_address(pair.client.host, "greet", family)
    with inside.connect(pair.client.host.holder.pid, address, 7025) as made:
        assert made.recv(99) == b"220 greet speaks first\r\n"
        made.sendall(b"QUIT")
        assert made.recv(99) == b"QUIT"


@BOTH
def test_a_call_by_name_from_an_ordinary_user(pair: Pair, family: int) -> None:
    words = ["curl", "-sS", "-m", "5", f"-{family}", "http://web4:9084/x"]
    said = json.loads(pair.client.host.run(words, uid=APP_UID).stdout)
    assert (said["server"], said["path"]) == ("web4", "/x")


@pytest.mark.parametrize("address", ["ipv4", "ipv6"])
@pytest.mark.parametrize("service", ["web", "echo"])
def test_a_caller_without_a_certificate_is_refused(pair: Pair, service: str, address: str) -> None:
    port = PORTS[service] + int(address[-1])
    target = getattr(pair.server.host, address)
    assert _heard(pair.mesh.cp, service, port, target) == b""


def _heard(host: Host, service: str, port: int, address: str) -> bytes:
    """What a plaintext caller gets; nothing where it is refused by a reset or a silent end."""
    try:
        return call(host, service, port, address=address).raw
    except inside.NoAnswer:
        return b""


def _none_warms(agent: Agent) -> bool:
    return not any(agent.stats("warming").values())


def test_nothing_was_rejected_and_nothing_waits(pair: Pair) -> None:
    for agent in (pair.client, pair.server):
        rejected = agent.stats(r"update_rejected$")
        assert rejected  # the counters are there
        assert not {name: value for name, value in rejected.items() if value}
        wait_for("no warming cluster", partial(_none_warms, agent))
    rows = pair.mesh.control_plane.rows("proxy-status")
    assert rows
    assert [row for row in rows if row["rejected"] != "no" or row["state"] != "synced"] == []
