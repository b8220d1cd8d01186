import pytest

from hostmesh_controlplane.config import (
    ConsulSource,
    ConsulTls,
    ControlPlaneConfig,
    Listen,
    StaticSource,
)
from hostmesh_controlplane.logic import config_file
from hostmesh_core.errors import BadInput
from hostmesh_core.model import InboundMode

EVERYTHING = """\
version: 1
trust_domain: corp.example
listen: {xds: "10.0.0.1:15012", enrolment: "[fd00::1]:15013", metrics: "127.0.0.1:9", api: /run/a}
state_dir: /srv/hostmesh
sources:
  - {name: files, kind: static, path: /etc/hostmesh/services, poll_seconds: 0.5}
  - name: dc1
    kind: consul
    address: https://consul.example.net:8501
    datacenter: dc1
    token_file: /etc/hostmesh/consul-token
    tls: {ca_file: /a, certificate_file: /b, key_file: /c, server_name: server.dc1.consul}
    services: ["web*"]
    namespace: shop
    host_template: "{service}.{namespace}.{mesh_domain}"
    alias_template: "{service}.service.{datacenter}.consul"
    hold_count: 10
    max_services: 700
mtls: strict
ca: {leaf_hours: 100, renew_from: 0.3, renew_to: 0.5, outage_hours: 50}
vip4_range: 240.1.0.0/16
vip6_range: fd00:1::/64
lease_seconds: 20
renew_seconds: 5
precedence: [consul, static]
"""

STATIC = "sources:\n  - {name: files, kind: static, path: /a"
CONSUL = "sources:\n  - {name: dc1, kind: consul"


def refusal_of(text: str) -> list[str]:
    with pytest.raises(BadInput) as refusal:
        config_file.parse(text, file="cp.yaml")
    return str(refusal.value).splitlines()


def test_an_empty_file_is_the_embedded_defaults() -> None:
    assert config_file.parse("", file="cp.yaml") == ControlPlaneConfig()


def test_reads_every_key() -> None:
    config = config_file.parse(EVERYTHING, file="cp.yaml")
    assert config.trust_domain == "corp.example"
    assert config.listen == Listen(
        xds="10.0.0.1:15012", enrolment="[fd00::1]:15013", metrics="127.0.0.1:9", api="/run/a"
    )
    assert config.sources == (
        StaticSource(name="files", path="/etc/hostmesh/services", poll_seconds=0.5),
        ConsulSource(
            name="dc1",
            address="https://consul.example.net:8501",
            datacenter="dc1",
            token_file="/etc/hostmesh/consul-token",
            tls=ConsulTls(
                ca_file="/a",
                certificate_file="/b",
                key_file="/c",
                server_name="server.dc1.consul",
            ),
            services=("web*",),
            namespace="shop",
            alias_template="{service}.service.{datacenter}.consul",
            hold_count=10,
            max_services=700,
        ),
    )
    assert config.mtls is InboundMode.STRICT
    assert (config.ca.leaf_hours, config.ca.outage_hours) == (100.0, 50.0)
    assert (config.vip4_range, config.vip6_range) == ("240.1.0.0/16", "fd00:1::/64")
    assert (config.lease_seconds, config.renew_seconds) == (20.0, 5.0)
    assert config.precedence == ("consul", "static", "registered", "nomad")


@pytest.mark.parametrize(
    ("text", "subject", "meant"),
    [
        pytest.param("trustDomain: a.b", "trustDomain", "trust_domain", id="camel case"),
        pytest.param("listn: {}", "listn", "listen", id="a letter short"),
        pytest.param("listen: {ads: a}", "listen.ads", "xds", id="listen's"),
        pytest.param("ca: {leaf_hour: 3}", "ca.leaf_hour", "leaf_hours", id="the authority's"),
        pytest.param(STATIC + ", paths: /b}", "sources[0].paths", "path", id="a static source's"),
        pytest.param(CONSUL + ", adress: b}", "sources[0].adress", "address", id="Consul's"),
        pytest.param(
            CONSUL + ", address: 'https://a:1', tls: {cafile: /b}}",
            "sources[0].tls.cafile",
            "ca_file",
            id="two sections down",
        ),
    ],
)
def test_an_unknown_key_names_the_likely_meant_one(text: str, subject: str, meant: str) -> None:
    line = 2 if "\n" in text else 1
    expected = f'cannot use cp.yaml:{line}: {subject}: unknown key; did you mean "{meant}"?'
    assert expected in refusal_of(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("trust_domain: Corp", "trust_domain: 'Corp' is no DNS name", id="capitals"),
        pytest.param("trust_domain: 5", "trust_domain: expected a text, not '5'", id="a number"),
        pytest.param("mtls: on", "expected one of permissive, strict, disable, not 'on'", id="on"),
        pytest.param("mtls: strikt", 'did you mean "strict"?', id="a mode misspelt"),
        pytest.param("mtls: disable", "mtls: expected permissive or strict", id="mTLS off"),
        pytest.param("state_dir: var", "state_dir: expected an absolute path", id="relative"),
        pytest.param("listen: ':15012'", "listen: expected keys and values", id="one listen"),
        pytest.param("listen: {xds: 15012}", "listen.xds: expected a text", id="a bare port"),
        pytest.param(
            "listen: {xds: ':15012'}", "listen.xds: '' is neither", id="no address in listen"
        ),
        pytest.param("listen: {xds: cp:1}", "'cp' is not an IP address", id="a name in listen"),
        pytest.param(
            "listen: {metrics: '0.0.0.0:15012'}",
            "listen.metrics: port 15012 is that of listen.xds",
            id="one port for two",
        ),
        pytest.param("listen: {api: a.sock}", "listen.api: expected an absolute", id="the socket"),
        pytest.param(f"listen: {{api: /{'a' * 120}}}", "longer than 100 bytes", id="long socket"),
        pytest.param("sources: {}", "sources: expected a list, not a mapping", id="no list"),
        pytest.param("sources:\n  - {name: a}", '"kind" is required: static or consul', id="kind"),
        pytest.param(
            "sources:\n  - {name: a, kind: consl}", 'did you mean "consul"?', id="kind misspelt"
        ),
        pytest.param(
            "sources:\n  - {name: a, kind: static}", 'key "path" is required', id="no path"
        ),
        pytest.param(
            "sources:\n  - {name: a, kind: static, path: a}",
            "path: expected an absolute path",
            id="a relative path",
        ),
        pytest.param(
            f"{STATIC}}}\n  - {{name: files, kind: consul}}",
            "3: sources[1].name: 'files' is here twice",
            id="a name twice",
        ),
        pytest.param(
            "sources:\n  - {name: registered, kind: consul}", "'registered' is taken", id="taken"
        ),
        pytest.param(
            "sources:\n  - {name: DC 1, kind: consul}", "'DC 1' is no DNS label", id="spaces"
        ),
        pytest.param(
            CONSUL + ", address: 'consul:8500'}", "expected http://host:port", id="no scheme"
        ),
        pytest.param(
            CONSUL + ", address: 'http://u:p@c:8500'}", "expected http://host:port", id="a password"
        ),
        pytest.param(CONSUL + ", tls: {ca_file: /a}}", "is not https", id="TLS over http"),
        pytest.param(
            CONSUL + ", address: 'https://c', tls: {key_file: /a}}",
            'key "certificate_file" is required',
            id="a key without certificate",
        ),
        pytest.param(
            CONSUL + ", host_template: '{svc}.x'}", "has a field that is not known", id="a field"
        ),
        pytest.param(
            CONSUL + ", host_template: 'web.x'}", "every service the same name", id="same"
        ),
        pytest.param(CONSUL + ", token: abc}", 'did you mean "token_file"?', id="a token inline"),
        pytest.param(CONSUL + ", hold_share: 30}", "expected 0.01 to 1, not 30", id="percent"),
        pytest.param(
            "ca: {leaf_hours: 24}",
            "ca.outage_hours: certificates of 24 h (leaf_hours) renewed by 60%",
            id="an outage that cannot be survived",
        ),
        pytest.param("ca: {renew_from: 0.7}", "0.7 is later than renew_to 0.6", id="from after to"),
        pytest.param("vip4_range: fd00::/64", "an IPv4 range of /24 or wider", id="the family"),
        pytest.param("vip4_range: 10.0.0.0/28", "/24 or wider, not 10.0.0.0/28", id="too narrow"),
        pytest.param("vip4_range: 10.0.0.1/8", "has host bits set", id="host bits"),
        pytest.param("renew_seconds: 10", "a lease of 12 s (lease_seconds) would end", id="lease"),
        pytest.param("lease_seconds: fast", "expected a number, not 'fast'", id="no number"),
        pytest.param("precedence: [static, static]", "a kind is here twice", id="kinds twice"),
        pytest.param("precedence: [consol]", 'did you mean "consul"?', id="a kind misspelt"),
        pytest.param("- a", "expected keys and values, not a list", id="a list"),
        pytest.param("a: b: c", "not YAML", id="no YAML"),
    ],
)
def test_refuses(text: str, words: str) -> None:
    lines = refusal_of(text)
    assert all(line.startswith("cannot use cp.yaml:") for line in lines)
    assert any(words in line for line in lines), lines
