"""What is on the wire between two meshed hosts, and what must never be."""

import secrets
from collections.abc import Iterator

import pytest

from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.mesh import Agent
from hostmesh_testing.captured import Capture
from hostmesh_testing.lab_mesh import LabMesh, call, start_app

PORTS = {"web4": 9084, "web6": 9086}
PLACES = ("path", "header", "body", "answer")


class Wire:
    """A client and a server whose app carries a random name of 32 bytes."""

    def __init__(self, mesh: LabMesh) -> None:
        self.mesh = mesh
        self.answer = secrets.token_hex(32)
        host = mesh.host("server")
        entries = []
        for name, address in (("web4", host.ipv4), ("web6", host.ipv6)):
            words = f"name: {name}, port: {PORTS[name]}, protocol: http, address: '{address}'"
            entries.append(f"{{{words}}}")
            start_app(host, "http", self.answer, PORTS[name])
        token = ["--service", "web4", "--service", "web6", "--service-account", "server"]
        self.server = mesh.join(host, entries, token=[*token, "--cidr", "fd77::/64"])
        self.client: Agent = mesh.join(mesh.host("client"))
        for name in PORTS:
            mesh.wait_meshed(name, 1)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with Lab() as lab:
        yield Wire(LabMesh(lab))


@pytest.mark.parametrize("family", [4, 6], ids=["caller on IPv4", "caller on IPv6"])
@pytest.mark.parametrize("name", ["web4", "web6"])
def test_no_marker_is_on_the_wire_and_all_are_on_the_servers_loopback(
    wire: Wire, name: str, family: int
) -> None:
    loopback, between = Capture(wire.server.host, "lo"), Capture(wire.server.host, "eth0")
    marks = {place: secrets.token_hex(32) for place in PLACES[:3]} | {"answer": wire.answer}
    for _ in range(5):
        answer = call(
            wire.client.host,
            name,
            PORTS[name],
            family=family,
            method="POST",
            path=f"/{marks['path']}",
            headers=f"x-mark: {marks['header']}\r\n",
            body=marks["body"].encode(),
        )
        assert answer.status == 200
    inside, outside = loopback.seen(), between.seen()
    found = {place: marks[place].encode() in inside for place in PLACES}
    assert found == dict.fromkeys(PLACES, True)
    leaked = {place: marks[place].encode() in outside for place in PLACES}
    assert leaked == dict.fromkeys(PLACES, False)
    assert len(outside) > 2000  # it did capture the encrypted ones


def test_the_detector_finds_plaintext_where_there_is_some(wire: Wire) -> None:
    between = Capture(wire.server.host, "eth0")
    mark = secrets.token_hex(32)
    target = wire.server.host.ipv4  # permissive: a caller without an agent speaks plaintext
    call(wire.mesh.cp, "web4", PORTS["web4"], address=target, path=f"/{mark}")
    assert mark.encode() in between.seen()
