"""Certificates renewed again and again under load: new key, new serial, nobody notices."""

import hashlib
import re
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.failures import serial_of
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.mesh import Agent, wait_for
from hostmesh_ctl.demo.traffic import App
from hostmesh_testing.lab_mesh import LabMesh, call
from hostmesh_testing.loaded import Loaded, told

PORT = 9080
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
        self.server = mesh.join(host, [f"{{name: web, port: {PORT}, protocol: http}}"])
        self.client = mesh.join(mesh.host("client"))
        mesh.wait_meshed("web", 1)

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

    def client_hashes(self) -> set[str]:
        """Give the hashes of the client certificates that fresh upstream connections bring.

        Slow requests side by side need more connections than the pool has.
        """

        def one(_: int) -> str:
            answer = call(self.client.host, "web", PORT, path="/x?delay=0.3")
            found = re.search(r"Hash=([0-9a-f]+)", answer.said.get("client_certificate", ""))
            return found[1] if found else ""

        with ThreadPoolExecutor(8) as threads:
            return set(threads.map(one, range(8)))


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
    serials = [pair.serial()]
    for number in range(ROTATIONS):
        agent = (pair.server, pair.client)[number % 2]
        keys, hashes = _keys(agent), pair.client_hashes() if agent is pair.client else set()
        assert keys
        agent.command("renew")
        if agent is pair.server:
            wait_for("the new serial in a dial", lambda: pair.serial() != serials[-1])
            serials.append(pair.serial())
        else:
            wait_for("the new client certificate", lambda seen=hashes: pair.client_hashes() - seen)  # type: ignore[misc]
        wait_for("the old keys gone", lambda a=agent, old=keys: not _keys(a) & old)  # type: ignore[misc]
    assert len(set(serials)) == ROTATIONS // 2 + 1
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
