from collections.abc import Set

import pytest

from hostmesh_controlplane.logic import own_listeners
from hostmesh_controlplane.logic.own_listeners import MAX_UPSTREAMS, OwnListeners, Wanted
from hostmesh_controlplane.logic.scope import EnvoyPorts, Upstream
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.model import Port, Protocol, Service

REVIEWS = "reviews.default.mesh.internal"
PORTS = pb.EnvoyPorts(
    outbound=16001, inbound=16006, status=16020, readiness=16021, prometheus=16090
)


def upstream(
    service: str = "reviews", port: int = 9080, address: str = "127.0.0.1", listen: int = 19080
) -> pb.Upstream:
    return pb.Upstream(service=service, port=port, listen_address=address, listen_port=listen)


def decide(
    *upstreams: pb.Upstream, ports: pb.EnvoyPorts | None = None, mesh_ports: Set[int] = frozenset()
) -> OwnListeners:
    return own_listeners.decide(
        upstreams, ports, captured=True, addresses={"10.0.0.4"}, mesh_ports=mesh_ports
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "10.0.0.4"])
def test_loopback_and_own_addresses_are_taken(address: str) -> None:
    own = decide(upstream(address=address))
    assert own.upstreams == (Wanted("reviews", 9080, address, 19080),)
    assert own.notes == ()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        pytest.param(upstream("Reviews!"), "expected a DNS name", id="no name"),
        pytest.param(upstream(address="localhost"), "not an IP address", id="no address"),
        pytest.param(upstream(address="0.0.0.0"), "expected loopback or this", id="everybody"),
        pytest.param(upstream(address="10.0.0.5"), "host's address (10.0.0.4)", id="another host"),
        pytest.param(upstream(listen=0), "expected 1 to 65535", id="no port"),
        pytest.param(upstream(port=70000), "expected 1 to 65535", id="no service port"),
        pytest.param(upstream(listen=15001), "the proxy's own", id="the capture port"),
        pytest.param(upstream(listen=15110), "the proxy's own", id="an identity's capture port"),
        pytest.param(upstream(listen=16006), "the proxy's own", id="the instance's own"),
        pytest.param(upstream(listen=18080), "a mesh_port of this host", id="a mesh port"),
    ],
)
def test_what_is_out_of_bounds_is_a_sentence_and_the_rest_stays(
    wanted: pb.Upstream, words: str
) -> None:
    own = decide(wanted, upstream(listen=19081), ports=PORTS, mesh_ports={18080})
    assert [one.listen_port for one in own.upstreams] == [19081]
    (note,) = own.notes
    assert note.startswith("cannot open")
    assert words in note


def test_one_address_has_one_upstream() -> None:
    own = decide(upstream(), upstream("ratings"))
    assert [one.service for one in own.upstreams] == ["reviews"]
    assert "twice" in own.notes[0]


def test_there_is_an_end_to_them() -> None:
    own = decide(*(upstream(listen=20000 + number) for number in range(MAX_UPSTREAMS + 5)))
    assert len(own.upstreams) == MAX_UPSTREAMS
    assert own.notes == ("cannot open more than 64 upstreams: the others are left out",)


def test_an_instance_has_its_own_ports() -> None:
    assert decide(ports=PORTS).ports == EnvoyPorts(16001, 16006, 16020, 16021, 16090)
    assert decide().ports == EnvoyPorts()


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"outbound": 0}, id="none"),
        pytest.param({"inbound": 16001}, id="the same twice"),
        pytest.param({"outbound": 65536}, id="too large"),
        pytest.param({"outbound": 15101}, id="one of the identities' pool"),
    ],
)
def test_wrong_ports_are_a_sentence(wrong: dict[str, int]) -> None:
    stated = pb.EnvoyPorts()
    stated.CopyFrom(PORTS)
    for name, number in wrong.items():
        setattr(stated, name, number)
    own = decide(ports=stated)
    assert own.ports == EnvoyPorts()
    assert own.notes[0].startswith("cannot use the ports")


def resolved(
    *upstreams: pb.Upstream, namespace: str = "default", ipv6: bool = True
) -> tuple[tuple[Upstream, ...], tuple[str, ...]]:
    known = {
        REVIEWS: Service(REVIEWS, "default", ports=(Port(9080, Protocol.HTTP),)),
        "db.example.net": Service("db.example.net", "default", ports=(Port(9080, Protocol.TCP),)),
    }
    return own_listeners.resolve(
        decide(*upstreams), known.get, namespace=namespace, mesh_domain="mesh.internal", ipv6=ipv6
    )


@pytest.mark.parametrize(
    ("service", "host", "protocol"),
    [
        pytest.param("reviews", REVIEWS, Protocol.HTTP, id="a short name"),
        pytest.param(REVIEWS, REVIEWS, Protocol.HTTP, id="a full name"),
        pytest.param("db.example.net", "db.example.net", Protocol.TCP, id="of another domain"),
    ],
)
def test_names_are_resolved_in_the_hosts_namespace(
    service: str, host: str, protocol: Protocol
) -> None:
    found, notes = resolved(upstream(service))
    assert found == (Upstream("127.0.0.1", 19080, host, 9080, protocol),)
    assert notes == ()


@pytest.mark.parametrize(
    ("wanted", "namespace", "words"),
    [
        pytest.param(upstream("nobody"), "default", "no service nobody.default", id="unknown"),
        pytest.param(upstream(), "other", "no service reviews.other", id="in another namespace"),
        pytest.param(upstream(), "", "write the full host name", id="no single namespace"),
        pytest.param(upstream(port=81), "default", "has no port 81 (it has: 9080)", id="no port"),
        pytest.param(upstream(address="::1"), "default", "has no IPv6", id="no IPv6"),
    ],
)
def test_what_is_not_there_is_a_sentence(wanted: pb.Upstream, namespace: str, words: str) -> None:
    found, (note,) = resolved(wanted, namespace=namespace, ipv6=False)
    assert found == ()
    assert note.startswith("cannot open upstream ")
    assert words in note
