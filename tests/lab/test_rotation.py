"""Certificates renewed again and again under load: new key, new serial, nobody notices."""

import hashlib
import re
import ssl
import time
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect as websocket

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.failures import serial_of
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.mesh import Agent, wait_for
from hostmesh_ctl.demo.traffic import App
from hostmesh_testing.lab_mesh import LabMesh, start_module, virtual_address
from hostmesh_testing.loaded import Loaded, told

PORT = 9080
SOCKET_PORT = 9081
ROTATIONS = 20
KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END", re.DOTALL)
SHORT = "ca: {leaf_hours: 0.01, outage_hours: 0.002}\n"
"""Certificates of 36 s."""


class Pair:
    """A client and a server of web."""

    def __init__(self, mesh: LabMesh) -> None:
        self.mesh = mesh
        host = mesh.host("server")
        self.app = App(host, "app", PORT)
        self.app.start()
        words = ["hostmesh_testing.lab_apps.websocket_echo", str(SOCKET_PORT)]
        start_module(host, "sock", words)
        entries = [
            f"{{name: {name}, port: {port}, protocol: http}}"
            for name, port in (("web", PORT), ("sock", SOCKET_PORT))
        ]
        token = ["--service-account", "server", "--service", "web", "--service", "sock"]
        self.server = mesh.join(host, entries, token=token)
        self.client = mesh.join(mesh.host("client"))
        mesh.wait_meshed("web", 1)
        mesh.wait_meshed("sock", 1)
        wait_for("a first handshake", self.client_hash)

    def serial(self) -> str:
        """Give the serial that the server shows to a TLS dial."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["istio-http/1.1"])
        address = self.server.host.ipv4
        with (
            inside.connect(self.mesh.cp.holder.pid, address, PORT) as plain,
            context.wrap_socket(plain, server_hostname="x") as tls,
        ):
            return serial_of(tls.getpeercert(binary_form=True) or b"")

    def client_hash(self) -> str:
        """Give the hash of the client certificate that a fresh connection between the sidecars has.

        An upgraded connection is never used again, so each WebSocket makes one of its own.
        """
        address = virtual_address(self.client.host, "sock", 4)
        made = inside.connect(self.client.host.holder.pid, address, SOCKET_PORT)
        uri = f"ws://sock:{SOCKET_PORT}/"
        with websocket(uri, sock=made, compression=None) as connection:
            found = re.search(r"Hash=([0-9a-f]+)", str(connection.recv(timeout=5)))
        return found[1] if found else ""


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Lab() as lab:
        yield Pair(LabMesh(lab))


def _keys(agent: Agent) -> set[str]:
    """The hashes of all private keys on a host's disk, wherever they lie."""
    found = set()
    for path in agent.host.path("/var/lib/hostmesh").rglob("*"):
        if path.is_file():
            found |= {hashlib.sha256(key).hexdigest() for key in KEY.findall(path.read_bytes())}
    return found


@pytest.mark.timeout(400)
def test_twenty_rotations_under_load(pair: Pair) -> None:
    load = Loaded(pair.client.host, "web", PORT, [pair.app])
    serials, hashes = [pair.serial()], [pair.client_hash()]
    for number in range(ROTATIONS):
        agent = (pair.server, pair.client)[number % 2]
        keys = _keys(agent)
        assert keys
        agent.command("renew")
        if agent is pair.server:
            wait_for("the new serial in a dial", lambda: pair.serial() not in serials)
            serials.append(pair.serial())
        else:
            wait_for("the new client certificate", lambda: pair.client_hash() not in hashes)
            hashes.append(pair.client_hash())
        wait_for("the old keys gone", lambda a=agent, old=keys: not _keys(a) & old)  # type: ignore[misc]
    assert len(set(serials)) == len(set(hashes)) == ROTATIONS // 2 + 1
    made = load.account()
    assert told(made.failed) == []
    assert made.succeeded > 500


@pytest.mark.timeout(200)
def test_short_certificates_renew_by_themselves(lab: Lab) -> None:
    mesh = LabMesh(lab, config=f"version: 1\n{SHORT}")
    pair = Pair(mesh)
    load = Loaded(pair.client.host, "web", PORT, [pair.app])
    serials = set()
    end = time.monotonic() + 50.0
    while time.monotonic() < end:
        serials.add(pair.serial())
        time.sleep(1.0)
    assert len(serials) >= 3
    assert told(load.account().failed) == []
