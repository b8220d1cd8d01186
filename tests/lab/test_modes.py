"""STRICT and PERMISSIVE towards callers without a certificate; a host that calls itself."""

from collections.abc import Iterator

import pytest

from hostmesh_ctl.demo import inside
from hostmesh_ctl.demo.hosts import Lab
from hostmesh_ctl.demo.mesh import wait_for
from hostmesh_testing.lab_mesh import Called, LabMesh, call, start_app

ADDRESSES = pytest.mark.parametrize("address", ["ipv4", "ipv6"])
BOTH = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
PORTS = {"open": 9081, "closed": 9082}


class Modes:
    """One host with a permissive and a strict service, and a caller beside it without an agent."""

    def __init__(self, mesh: LabMesh) -> None:
        self.mesh = mesh
        host = mesh.host("server")
        entries = []
        for name, mode in (("open", "permissive"), ("closed", "strict")):
            start_app(host, "http", name, PORTS[name])
            entries.append(
                f"{{name: {name}, port: {PORTS[name]}, protocol: http, inbound: {mode}}}"
            )
        token = ["--service-account", "server", "--service", "open", "--service", "closed"]
        self.server = mesh.join(host, entries, token=token)
        for name in PORTS:
            mesh.wait_meshed(name, 1)

    def plain(self, service: str, address: str) -> Called | None:
        """Call in plaintext from a host without an agent; None = refused."""
        target = getattr(self.server.host, address)
        try:
            answer = call(self.mesh.cp, service, PORTS[service], address=target)
        except inside.NoAnswer:
            return None
        return answer if answer.raw else None


@pytest.fixture(scope="module")
def modes() -> Iterator[Modes]:
    with Lab() as lab:
        yield Modes(LabMesh(lab))


@ADDRESSES
def test_permissive_serves_a_caller_without_a_certificate(modes: Modes, address: str) -> None:
    answer = modes.plain("open", address)
    assert answer is not None
    assert (answer.status, answer.said["server"], answer.caller) == (200, "open", "")


@ADDRESSES
def test_strict_refuses_a_caller_without_a_certificate(modes: Modes, address: str) -> None:
    assert modes.plain("closed", address) is None


def test_nobody_can_claim_an_identity_by_a_header(modes: Modes) -> None:
    forged = "x-forwarded-client-cert: URI=spiffe://mesh.internal/ns/default/sa/admin\r\n"
    host, target = modes.mesh.cp, modes.server.host.ipv4
    answer = call(host, "open", PORTS["open"], address=target, headers=forged)
    assert (answer.status, answer.caller) == (200, "")


@BOTH
@pytest.mark.parametrize("service", ["open", "closed"])
def test_a_host_calls_its_own_service_through_the_virtual_address(
    modes: Modes, service: str, family: int
) -> None:
    own = "spiffe://mesh.internal/ns/default/sa/server"
    host = modes.server.host
    wait_for(f"an answer of {service}", lambda: call(host, service, PORTS[service]).status == 200)
    answer = call(host, service, PORTS[service], family=family)
    assert (answer.said["server"], answer.caller) == (service, own)


@pytest.mark.parametrize("service", ["open", "closed"])
def test_loopback_stays_outside_the_mesh(modes: Modes, service: str) -> None:
    answer = call(modes.server.host, service, PORTS[service], address="127.0.0.1")
    assert (answer.status, answer.caller) == (200, "")


def test_an_undeclared_port_is_untouched(modes: Modes) -> None:
    start_app(modes.server.host, "http", "other", 9099)
    answer = call(modes.mesh.cp, "other", 9099, address=modes.server.host.ipv4)
    assert (answer.status, answer.caller) == (200, "")
    assert answer.said["peer"].endswith(modes.mesh.cp.ipv4)  # not even the source changed
