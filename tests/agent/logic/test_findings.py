from dataclasses import replace
from pathlib import Path

import pytest

from hostmesh_agent.config import Address, AgentConfig, CaptureConfig, ServiceConfig
from hostmesh_agent.logic import findings
from hostmesh_agent.logic.address_rules import AddressRule
from hostmesh_agent.logic.findings import (
    MEANINGS,
    Code,
    Heard,
    Listener,
    Observed,
    Severity,
)
from hostmesh_core.model import InboundMode, Protocol

STOPS, WARNS = Severity.STOPS, Severity.WARNS
EVERYWHERE = Listener(address="0.0.0.0", port=8080, process="app")
LOOPBACK = Listener(address="127.0.0.1", port=8080, process="app")
RULE = AddressRule("PostgreSQL", "/etc/pg_hba.conf:7", "host all all 10.0.0.0/8 md5")
LOCAL = AddressRule(
    "PostgreSQL", "/etc/pg_hba.conf:2", "host all all 127.0.0.1/32 trust", local=True
)
GREETING = Heard(first=b"220 mail ESMTP\r\n")
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def web(**more: object) -> ServiceConfig:
    return ServiceConfig(**{"name": "web", "port": 8080, **more})  # type: ignore[arg-type]


def config(*services: ServiceConfig, captured: bool = True) -> AgentConfig:
    plane = (Address(host="cp1", port=15012),)
    return AgentConfig(
        control_planes=plane, services=services, capture=CaptureConfig(enabled=captured)
    )


def seen(*listeners: Listener, **more: object) -> Observed:
    return Observed(listeners=listeners or (EVERYWHERE,), **more)  # type: ignore[arg-type]


def found(service: ServiceConfig, observed: Observed) -> list[tuple[Code, Severity]]:
    given = findings.of_service(config(service), service, observed)
    return [(each.code, each.severity) for each in given]


@pytest.mark.parametrize(
    ("service", "observed", "expected"),
    [
        pytest.param(web(protocol=Protocol.HTTP), seen(), [], id="an app as it should be"),
        pytest.param(web(), Observed(), [(Code.NOT_LISTENING, WARNS)], id="nothing listens"),
        pytest.param(web(), seen(LOOPBACK), [(Code.LOOPBACK_ONLY, STOPS)], id="loopback alone"),
        pytest.param(
            web(mesh_port=18080),
            seen(LOOPBACK),
            [(Code.LOOPBACK_ONLY, STOPS)],
            id="loopback alone behind a mesh_port: Envoy dials the address that was called",
        ),
        pytest.param(web(listen="127.0.0.1:8080"), seen(LOOPBACK), [], id="loopback, and said so"),
        pytest.param(web(listen="127.0.0.1:8080"), seen(), [], id="everywhere, and said loopback"),
        pytest.param(
            web(listen="10.0.0.9:8080"),
            seen(LOOPBACK),
            [(Code.NOT_LISTENING, WARNS)],
            id="nothing where listen says",
        ),
        pytest.param(
            web(), seen(LOOPBACK, EVERYWHERE), [], id="loopback beside every other address"
        ),
        pytest.param(
            web(protocol=Protocol.HTTP),
            seen(heard=Heard(tls=True)),
            [(Code.SPEAKS_TLS, STOPS)],
            id="TLS behind http",
        ),
        pytest.param(
            web(), seen(heard=Heard(tls=True)), [(Code.SPEAKS_TLS, WARNS)], id="TLS behind tcp"
        ),
        pytest.param(
            web(protocol=Protocol.HTTPS), seen(heard=Heard(tls=True)), [], id="TLS behind https"
        ),
        pytest.param(web(), seen(heard=GREETING), [(Code.SPEAKS_FIRST, STOPS)], id="speaks first"),
        pytest.param(
            web(server_first=True, inbound=InboundMode.STRICT),
            seen(heard=GREETING),
            [],
            id="speaks first, and said so",
        ),
        pytest.param(
            web(), seen(firewall="it drops; allow 15006"), [(Code.FIREWALL, WARNS)], id="a firewall"
        ),
        pytest.param(
            web(inbound=InboundMode.STRICT),
            seen(firewall="it drops; allow 15006"),
            [(Code.FIREWALL, STOPS)],
            id="a firewall that would shut out all callers",
        ),
        pytest.param(
            web(),
            seen(heard=Heard(first=b"-DENIED Redis is running in protected mode")),
            [],
            id="a refusal is no greeting",
        ),
        pytest.param(
            web(mesh_port=18080), seen(heard=GREETING), [], id="speaks first on a port left alone"
        ),
        pytest.param(
            web(protocol=Protocol.HTTP),
            seen(heard=GREETING),
            [(Code.OTHER_PROTOCOL, STOPS)],
            id="speaks first and is declared http",
        ),
        pytest.param(
            web(protocol=Protocol.HTTP),
            seen(heard=Heard(answer=b"-ERR unknown command")),
            [(Code.OTHER_PROTOCOL, STOPS)],
            id="no HTTP behind http",
        ),
        pytest.param(
            web(protocol=Protocol.HTTP), seen(heard=Heard(answer=b"HTTP/1.0 404 ")), [], id="HTTP"
        ),
        pytest.param(
            web(protocol=Protocol.HTTP),
            seen(heard=Heard(answer=SETTINGS)),
            [(Code.OTHER_PROTOCOL, WARNS)],
            id="HTTP/2 behind http",
        ),
        pytest.param(
            web(protocol=Protocol.GRPC), seen(heard=Heard(answer=SETTINGS)), [], id="gRPC"
        ),
        pytest.param(
            web(protocol=Protocol.GRPC),
            seen(heard=Heard(answer=b"HTTP/1.1 400 Bad Request")),
            [(Code.OTHER_PROTOCOL, STOPS)],
            id="HTTP/1.1 behind grpc",
        ),
        pytest.param(web(protocol=Protocol.HTTP), seen(heard=Heard()), [], id="silence proves not"),
        pytest.param(
            web(), seen(published="docker-proxy"), [(Code.DOCKER_PUBLISHED, STOPS)], id="Docker"
        ),
        pytest.param(
            web(listen="127.0.0.1:8080"), seen(published="docker-proxy"), [], id="Docker, cured"
        ),
        pytest.param(
            web(), seen(rules=(RULE,)), [(Code.JUDGES_BY_ADDRESS, STOPS)], id="judges by address"
        ),
        pytest.param(
            web(mesh_port=18080),
            seen(rules=(RULE,)),
            [(Code.JUDGES_BY_ADDRESS, WARNS)],
            id="judges by address, left alone",
        ),
        pytest.param(
            web(inbound=InboundMode.STRICT),
            seen(rules=(RULE, RULE)),
            [(Code.JUDGES_BY_ADDRESS, WARNS)],
            id="judges by address, all callers meshed",
        ),
        pytest.param(
            web(inbound=InboundMode.DISABLE),
            seen(rules=(RULE,)),
            [(Code.JUDGES_BY_ADDRESS, STOPS)],
            id="judges by address, plaintext through Envoy",
        ),
        pytest.param(
            web(listen="127.0.0.1:8080"),
            seen(rules=(LOCAL,)),
            [(Code.JUDGES_BY_ADDRESS, STOPS)],
            id="trusts its own host, and everybody would look like that",
        ),
        pytest.param(
            web(mesh_port=18080, listen="127.0.0.1:8080"),
            seen(rules=(RULE, LOCAL)),
            [(Code.JUDGES_BY_ADDRESS, STOPS)],
            id="trusts its own host, and a mesh_port takes plaintext too",
        ),
        pytest.param(
            web(mesh_port=18080, listen="127.0.0.1:8080", inbound=InboundMode.STRICT),
            seen(rules=(LOCAL,)),
            [(Code.JUDGES_BY_ADDRESS, WARNS)],
            id="trusts its own host, and the mesh alone enters",
        ),
    ],
)
def test_what_is_seen_of_an_app(
    service: ServiceConfig, observed: Observed, expected: list[tuple[Code, Severity]]
) -> None:
    assert found(service, observed) == expected


def test_without_capture_callers_meet_the_app_as_before() -> None:
    service = web(mesh_port=18080, listen="127.0.0.1:8080")
    given = findings.of_service(
        config(service, captured=False), service, seen(heard=GREETING, published="docker-proxy")
    )
    assert given == []


@pytest.mark.parametrize(
    ("service", "observed", "words"),
    [
        pytest.param(web(), seen(LOOPBACK), "`listen: '127.0.0.1:8080'`", id="IPv4"),
        pytest.param(
            web(),
            seen(Listener(address="::1", port=8080)),
            "`listen: '[::1]:8080'`",
            id="IPv6 alone",
        ),
        pytest.param(web(), seen(heard=GREETING), "`mesh_port: 18080`", id="a free port"),
        pytest.param(
            web(port=60000), seen(heard=GREETING), "`mesh_port: 50000`", id="a port within range"
        ),
        pytest.param(
            web(protocol=Protocol.HTTP), seen(heard=Heard(tls=True)), "`protocol: https`", id="TLS"
        ),
    ],
)
def test_a_cure_is_the_line_to_write(
    service: ServiceConfig, observed: Observed, words: str
) -> None:
    (finding,) = findings.of_service(config(service), service, observed)
    assert words in finding.cure


@pytest.mark.parametrize(
    ("service", "source"),
    [
        pytest.param(web(), "127.0.0.6 (::6)", id="captured"),
        pytest.param(web(listen="10.0.0.4:8080"), "127.0.0.6 (::6)", id="on the host's address"),
        pytest.param(web(listen="127.0.0.1:8080"), "127.0.0.1", id="on loopback"),
        pytest.param(web(mesh_port=18080), "this host's own address", id="a port of its own"),
        pytest.param(
            web(mesh_port=18080, listen="10.0.0.4:8080"), "10.0.0.4", id="where listen names it"
        ),
    ],
)
def test_what_a_judging_app_would_see_is_named(service: ServiceConfig, source: str) -> None:
    (finding,) = findings.of_service(config(service), service, seen(rules=(RULE,)))
    assert f"would see {source} instead" in finding.text
    if service.mesh_port:
        assert f"let {source} in" in finding.cure


@pytest.mark.parametrize(
    ("more", "captured", "words"),
    [
        pytest.param({}, True, "`mesh_port: 18080`, `inbound: strict` for web", id="captured"),
        pytest.param({"mesh_port": 18080}, True, "`inbound: strict` for web", id="a mesh_port"),
        pytest.param({"mesh_port": 18080}, False, "`inbound: strict` for web", id="explicit mode"),
        pytest.param(
            {"inbound": InboundMode.STRICT}, True, "every workload of the mesh", id="strict"
        ),
    ],
)
def test_what_trusts_its_own_host_is_named_first_with_both_cures(
    more: dict[str, object], words: str, *, captured: bool
) -> None:
    service = web(listen="127.0.0.1:8080", **more)
    whole = config(service, captured=captured)
    (finding,) = findings.of_service(whole, service, seen(rules=(RULE, LOCAL)))
    assert "(/etc/pg_hba.conf:2: host all all 127.0.0.1/32 trust and 1 more)" in finding.text
    assert "let in like a caller on this host" in finding.text
    assert finding.cure.startswith(words)
    assert "ask 127.0.0.1 for a password" in finding.cure
    strict = more.get("inbound") is InboundMode.STRICT
    assert finding.severity is (WARNS if strict else STOPS)


def test_a_port_of_the_proxy_s_own_that_is_taken_stops() -> None:
    whole = config(web(mesh_port=18080))
    sockets = [Listener(address="0.0.0.0", port=p, process="other") for p in (15006, 18080, 9)]
    given = findings.of_host(whole, sockets)
    assert [(each.code, each.severity) for each in given] == [(Code.PORT_TAKEN, STOPS)] * 2
    assert "ports.inbound" in given[0].text
    ours = [Listener(address="0.0.0.0", port=15006, process="envoy", ours=True)]
    assert findings.of_host(whole, ours) == []


@pytest.mark.parametrize(
    ("change", "again"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({"weight": 5, "labels": (("a", "b"),)}, False, id="weight and labels"),
        pytest.param({"service_port": 81}, False, id="the port that clients dial"),
        pytest.param({"port": 8081}, True, id="another port"),
        pytest.param({"protocol": Protocol.TCP}, True, id="another protocol"),
        pytest.param({"listen": "127.0.0.1:8080"}, True, id="where it listens"),
        pytest.param({"mesh_port": 18080}, True, id="captured no more"),
        pytest.param({"inbound": InboundMode.STRICT}, True, id="another mode"),
        pytest.param({"name": "api"}, True, id="another service"),
    ],
)
def test_a_service_is_looked_at_again_where_something_else_may_be_found(
    change: dict[str, object],
    again: bool,  # noqa: FBT001
) -> None:
    new = replace(web(), **change)  # type: ignore[arg-type]
    old = config(web(), web(name="other"))
    found = findings.to_look_at(old, config(web(name="other"), new))
    assert found == ((new,) if again else ())


def test_the_docs_have_every_finding() -> None:
    text = (Path(__file__).parents[3] / "docs" / "join.md").read_text()
    assert set(MEANINGS) == set(Code)
    for code, (meaning, cure) in MEANINGS.items():
        assert f"| `{code}` | {meaning} | {cure} |" in text
