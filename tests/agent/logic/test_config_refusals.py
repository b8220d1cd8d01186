"""What agent.yaml may not say: each refusal names the line, the key and what to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_agent.logic import config_file
from hostmesh_core.errors import BadInput


def refusal_of(text: str) -> list[str]:
    with pytest.raises(BadInput) as refusal:
        config_file.parse(text, file="agent.yaml")
    return str(refusal.value).splitlines()


BASE = "control_planes: [cp1:15012]\n"


def service(fields: str) -> str:
    return f"{BASE}services:\n  - {{name: web, port: 8080, {fields}}}\n"


@pytest.mark.parametrize(
    ("text", "line", "subject", "meant"),
    [
        pytest.param(BASE + "service: []", 2, "service", "services", id="the top: a letter short"),
        pytest.param("controlPlanes: [a:1]", 1, "controlPlanes", "control_planes", id="camel case"),
        pytest.param(BASE + "control-plane: x", 2, "control-plane", "control_planes", id="hyphens"),
        pytest.param(
            service("protcol: http"), 3, "services[0].protcol", "protocol", id="a service's"
        ),
        pytest.param(
            service("servicePort: 1"),
            3,
            "services[0].servicePort",
            "service_port",
            id="Istio's spelling",
        ),
        pytest.param(
            service("health: {intervall_seconds: 1}"),
            3,
            "services[0].health.intervall_seconds",
            "interval_seconds",
            id="two sections down",
        ),
        pytest.param(
            BASE + "capture:\n  exclude_uid: [1]",
            3,
            "capture.exclude_uid",
            "exclude_uids",
            id="capture's",
        ),
        pytest.param(
            BASE + "envoy:\n  drain_second: 1",
            3,
            "envoy.drain_second",
            "drain_seconds",
            id="envoy's",
        ),
        pytest.param(BASE + "ports:\n  in_bound: 1", 3, "ports.in_bound", "inbound", id="a port's"),
        pytest.param(
            BASE + "upstreams:\n  - {service: a, port: 1, lisen: 127.0.0.1:9}",
            3,
            "upstreams[0].lisen",
            "listen",
            id="an upstream's",
        ),
    ],
)
def test_an_unknown_key_names_the_likely_meant_one(
    text: str, line: int, subject: str, meant: str
) -> None:
    expected = f'cannot use agent.yaml:{line}: {subject}: unknown key; did you mean "{meant}"?'
    assert expected in refusal_of(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", '1: key "control_planes" is required: for example [cp1', id="empty"),
        pytest.param(
            "control_planes: []", "1: control_planes: expected at least one", id="no control plane"
        ),
        pytest.param(
            "control_planes: cp1",
            "1: control_planes: expected a list, not 'cp1'",
            id="a text for the list",
        ),
        pytest.param(
            "control_planes: ['cp 1:5']",
            "1: control_planes: 'cp 1' is neither an IP address nor a host name",
            id="no host name",
        ),
        pytest.param(
            "control_planes: ['cp1:99999']", "expected host:port, not 'cp1:99999'", id="no port"
        ),
        pytest.param(
            "control_planes: ['fd00::1:15012x']",
            "expected an IPv6 address in brackets",
            id="IPv6 without brackets",
        ),
        pytest.param(
            "control_planes: [a:1, a:1]",
            "1: control_planes: a:1 is here twice",
            id="a control plane twice",
        ),
        pytest.param(
            BASE + "version: 2", "2: version: expected 1 to 1, not 2", id="a later version"
        ),
        pytest.param(
            BASE + "instance: Edge",
            "2: instance: expected lower-case letters",
            id="an instance in capitals",
        ),
        pytest.param(
            BASE + "instance: edge",
            "2: instance: 'edge' has to state its own ports; not there: outbound",
            id="an instance without ports",
        ),
        pytest.param(
            BASE + "ports: {inbound: 15001}",
            "2: ports: 15001 is used 2 times (outbound, inbound)",
            id="a port for two",
        ),
        pytest.param(
            BASE + "dns: split",
            "2: dns: expected one of hosts, off, not 'split'",
            id="a dns mode that is not there",
        ),
        pytest.param(BASE + "dns: host", 'did you mean "hosts"?', id="a word misspelt"),
        pytest.param(
            BASE + "enrolment: ''",
            "2: enrolment: '' is neither an IP address nor",
            id="an empty enrolment",
        ),
        pytest.param(
            BASE + "services: {name: web}",
            "2: services: expected a list, not a mapping",
            id="a mapping for a list",
        ),
        pytest.param(
            BASE + "services:\n  - {name: web}",
            '3: services[0]: key "port" is required',
            id="no port of a service",
        ),
        pytest.param(
            BASE + "services:\n  - {port: 80}",
            '3: services[0]: key "name" is required',
            id="no name of a service",
        ),
        pytest.param(
            BASE + "services:\n  - {name: We_b, port: 80}",
            "3: services[0].name: 'We_b' is no DNS name",
            id="a name in capitals",
        ),
        pytest.param(
            BASE + "services:\n  - {name: web, port: '80'}",
            "3: services[0].port: expected an integer, not '80'",
            id="a quoted port",
        ),
        pytest.param(
            BASE + "services:\n  - {name: web, port: 0}",
            "3: services[0].port: expected 1 to 65535, not 0",
            id="port 0",
        ),
        pytest.param(
            BASE + "services:\n  - {name: web, port: 15001}",
            "3: services[0].port: 15001 is the proxy's own (ports.outbound)",
            id="the proxy's port",
        ),
        pytest.param(
            BASE + "services:\n  - {name: web, port: 15150}",
            "15150 is the proxy's own (outbound capture)",
            id="a port of the identity pool",
        ),
        pytest.param(
            BASE + "services:\n  - {name: a, port: 80}\n  - {name: b, port: 80}",
            "4: services[1].port: port 80 is already that of services[0]",
            id="two apps on one port",
        ),
        pytest.param(
            BASE + "services:\n  - {name: a, port: 80}\n  - {name: a, port: 81, service_port: 80}",
            "4: services[1].name: a:80 is already that of services[0]",
            id="one service port twice",
        ),
        pytest.param(service("protocol: htp"), 'did you mean "http"?', id="a protocol misspelt"),
        pytest.param(
            service("server_first: true, inbound: permissive"),
            "3: services[0].server_first: needs inbound: strict or disable",
            id="server first in permissive",
        ),
        pytest.param(
            service("server_first: true, protocol: http"),
            "3: services[0].server_first: clients of http speak first",
            id="server first HTTP",
        ),
        pytest.param(service("server_first: yes"), "expected true or false, not 'yes'", id="yes"),
        pytest.param(
            service("address: web.example.net"),
            "3: services[0].address: 'web.example.net' is not an IP",
            id="a name as address",
        ),
        pytest.param(
            service("listen: 127.0.0.1:8081"),
            "3: services[0].listen: port 8081 differs from port: 8080",
            id="listen on another port",
        ),
        pytest.param(
            service("listen: localhost:8080"),
            "3: services[0].listen: 'localhost' is not an IP address",
            id="listen on a name",
        ),
        pytest.param(
            service("mesh_port: 8080"),
            "3: services[0].mesh_port: the app has this port already",
            id="mesh_port = port",
        ),
        pytest.param(
            service("labels: {version: 2}"),
            "3: services[0].labels.version: expected a text, not '2'; put it in quotes",
            id="a number as label",
        ),
        pytest.param(
            service("weight: -1"),
            "3: services[0].weight: expected 1 to 65535, not -1",
            id="a negative weight",
        ),
        pytest.param(
            service("namespace: a.b"),
            "3: services[0].namespace: 'a.b' is no DNS label",
            id="a namespace with a dot",
        ),
        pytest.param(
            service("health: {path: /up}"),
            "3: services[0].health.path: only kind: http",
            id="a path for TCP",
        ),
        pytest.param(
            service("health: {kind: http, path: up}"),
            "expected a path that starts with /",
            id="a path without slash",
        ),
        pytest.param(
            service("health: {timeout_seconds: 5}"),
            "longer than interval_seconds 2: checks would overlap",
            id="checks that overlap",
        ),
        pytest.param(
            service("health: http"),
            "3: services[0].health: expected keys and values",
            id="a word for a section",
        ),
        pytest.param(
            BASE + "envoy: {stop_seconds: 10}",
            "2: envoy.stop_seconds: shorter than drain_seconds 45",
            id="stop before the drain's end",
        ),
        pytest.param(
            BASE + "envoy: {parent_shutdown_seconds: 10}",
            "2: envoy.parent_shutdown_seconds: shorter than drain_seconds 45",
            id="parent shutdown before the drain's end",
        ),
        pytest.param(
            BASE + "envoy: {binary: envoy}",
            "2: envoy.binary: expected an absolute path",
            id="a relative binary",
        ),
        pytest.param(
            BASE + "envoy: {log_level: warn}", 'did you mean "warning"?', id="a log level misspelt"
        ),
        pytest.param(
            BASE + "capture: {mode: all}",
            "2: capture.mode: expected one of mesh, not 'all'",
            id="a mode that is not there",
        ),
        pytest.param(
            BASE + "capture: {endpoint_cidrs: [10.0.0.1/8]}",
            "2: capture.endpoint_cidrs: 10.0.0.1/8 has host bits set",
            id="host bits in a CIDR",
        ),
        pytest.param(
            service("weight: 1") + "capture: {enabled: false}",
            "4: capture.enabled: false leads no caller to services[0] (web)",
            id="explicit mode without mesh_port",
        ),
        pytest.param(
            service("weight: 1") + "capture: {exclude_inbound_ports: [8080]}",
            "4: capture.exclude_inbound_ports: 8080 is the port of services[0] (web)",
            id="a declared port excluded",
        ),
        pytest.param(
            BASE + "outbound: {default_identity: web}",
            "cannot read identity 'web'",
            id="an identity without namespace",
        ),
        pytest.param(
            BASE + "names: {take_over: ['a b']}",
            "2: names.take_over: 'a b' is no DNS name",
            id="no name",
        ),
        pytest.param(
            BASE + "upstreams:\n  - {service: a, port: 80}",
            '3: upstreams[0]: key "listen" is required',
            id="an upstream without listen",
        ),
        pytest.param(
            BASE + "upstreams:\n  - {service: a, port: 80, listen: localhost:9}",
            "'localhost' is not an IP address",
            id="an upstream that listens on a name",
        ),
        pytest.param(
            f"{BASE}upstreams:\n"
            "  - {service: a, port: 80, listen: 127.0.0.1:9}\n"
            "  - {service: b, port: 80, listen: 127.0.0.1:9}\n",
            "4: upstreams[1].listen: 127.0.0.1:9 is here twice",
            id="two upstreams on one address",
        ),
        pytest.param(
            BASE + "upstreams:\n  - {service: a, port: 80, listen: 127.0.0.1:15001}",
            "15001 is the proxy's own",
            id="an upstream on the proxy's port",
        ),
        pytest.param(
            BASE + "upstreams:\n  - {service: a, port: 80, listen: 0.0.0.0:9080}",
            "0.0.0.0 would lend this host's identity to everybody",
            id="an upstream for everybody",
        ),
        pytest.param(
            service("mesh_port: 18080")
            + "upstreams:\n  - {service: a, port: 80, listen: 127.0.0.1:18080}\n",
            "upstreams: 127.0.0.1:18080 has the mesh_port of services[0] (web)",
            id="an upstream on a mesh_port",
        ),
        pytest.param(
            BASE
            + "upstreams:\n"
            + "".join(
                f"  - {{service: a, port: 80, listen: 127.0.0.1:{port}}}\n"
                for port in range(9000, 9065)
            ),
            "upstreams: at most 64",
            id="65 upstreams",
        ),
        pytest.param("control_planes: [a:1\n", "not YAML", id="a bracket that never ends"),
        pytest.param(BASE + BASE, 'key "control_planes" is here twice', id="a key twice"),
    ],
)
def test_refuses(text: str, words: str) -> None:
    lines = refusal_of(text)
    assert all(line.startswith("cannot use agent.yaml:") for line in lines)
    assert any(words in line.removeprefix("cannot use agent.yaml:") for line in lines), lines


def test_tells_every_problem_of_a_file_at_once() -> None:
    lines = refusal_of("control_planes: [x y]\nservices:\n  - {nam: a, port: b}\nzebra: 1\n")
    assert [line.split(": ")[0].rpartition(":")[2] for line in lines] == ["1", "3", "3", "4"]


@given(text=st.text(alphabet=st.sampled_from("abc:-[]{}, \n'\"1#&*!|>"), max_size=80))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    try:
        config_file.parse(text, file="agent.yaml")
        lines = []
    except BadInput as refusal:
        lines = str(refusal).splitlines()
    assert all(line.startswith("cannot use agent.yaml:") for line in lines)
