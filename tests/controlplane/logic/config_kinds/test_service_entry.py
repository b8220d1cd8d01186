import pytest

from hostmesh_controlplane.logic.config_kinds.resource import Unusable, read_resource
from hostmesh_controlplane.logic.config_kinds.service_entry import ServiceEntry, read_service_entry
from hostmesh_core.documents import load_all
from hostmesh_core.model import Port, Protocol

KINDS = ("ServiceEntry", "WorkloadEntry")

GOOD = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: reviews
  namespace: default
spec:
  hosts: [reviews.default.mesh.internal]
  resolution: STATIC
  ports:
  - number: 9080
    name: http
    protocol: HTTP
  endpoints:
  - address: 10.0.0.1
"""


def read(text: str) -> ServiceEntry:
    (document,) = load_all(text, file="catalog/reviews.yaml")
    resource = read_resource(document, kinds=KINDS, file_kind="the static catalog")
    return read_service_entry(resource, mesh_domain="mesh.internal")


def test_the_smallest_service_entry() -> None:
    entry = read(GOOD)
    assert entry.ports == (Port(9080, Protocol.HTTP, "http"),)
    assert entry.namespace == "default"


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_every_version_of_the_api(version: str) -> None:
    assert read(GOOD.replace("istio.io/v1", f"istio.io/{version}")).namespace == "default"


def test_what_a_kubernetes_server_adds_does_no_harm() -> None:
    added = "  generation: 3\n  uid: 7c1f\n  managedFields: []\nspec:\n"
    assert read(GOOD.replace("spec:\n", added) + "status: {}\n").namespace == "default"


def annotated(annotation: str) -> str:
    return GOOD.replace("spec:\n", f"  annotations:\n    {annotation}\nspec:\n")


def test_annotations_say_what_istio_has_no_field_for() -> None:
    entry = read(annotated('hostmesh.io/aliases: "reviews.service.consul, Reviews.corp.example."'))
    assert entry.aliases == ("reviews.service.consul", "reviews.corp.example")
    assert read(annotated('hostmesh.io/require-mesh: "true"')).require_mesh
    assert read(annotated('hostmesh.io/server-first: "http"')).ports[0].server_first
    assert read(annotated('hostmesh.io/server-first: "true"')).ports[0].server_first
    assert not read(annotated('hostmesh.io/server-first: "false"')).ports[0].server_first
    assert read(annotated('example.net/other: "anything"')).aliases == ()


def test_the_namespace_may_be_said_by_annotation() -> None:
    text = annotated("hostmesh.io/namespace: shop").replace("reviews.default.", "reviews.shop.")
    assert read(text).namespace == "shop"


@pytest.mark.parametrize(
    ("protocol", "port"),
    [
        pytest.param("http2", Port(9080, Protocol.HTTP2, "http"), id="any case"),
        pytest.param("GRPC", Port(9080, Protocol.GRPC, "http"), id="grpc"),
        pytest.param("TLS", Port(9080, Protocol.HTTPS, "http"), id="TLS is the app's own"),
        pytest.param("MONGO", Port(9080, Protocol.TCP, "http"), id="mongo is tcp"),
        pytest.param(
            "MYSQL", Port(9080, Protocol.TCP, "http", server_first=True), id="mysql speaks first"
        ),
    ],
)
def test_protocols(protocol: str, port: Port) -> None:
    assert read(GOOD.replace("protocol: HTTP", f"protocol: {protocol}")).ports == (port,)


def test_what_is_valid_and_has_nothing_to_do_here_is_read() -> None:
    more = (
        "  addresses: [10.9.9.9, 10.0.0.0/24]\n  exportTo: ['*']\n"
        "  subjectAltNames: ['spiffe://mesh.internal/ns/a/sa/b']\n  location: MESH_EXTERNAL\n"
    )
    entry = read(GOOD + more)
    assert [str(one) for one in entry.subject_alt_names] == ["spiffe://mesh.internal/ns/a/sa/b"]


def test_a_port_without_protocol_falls_to_tcp_and_says_so() -> None:
    (port,) = read(GOOD.replace("    protocol: HTTP\n", "")).ports
    assert (port.protocol, port.protocol_defaulted) == (Protocol.TCP, True)


WRONG = [
    # unknown keys: the suggested one is part of what is asserted
    ("  resolution: STATIC", "  resolutoin: STATIC", ":6:", "spec.resolution is missing"),
    ("spec:\n", "spec:\n  resolutoin: STATIC\n", ":7:", 'did you mean "resolution"?'),
    ("kind: Serv", "knid: x\nkind: Serv", ":2:", 'unknown key "knid"; did you mean "kind"?'),
    ("  name: reviews", "  nmae: reviews\n  name: r", ":4:", 'did you mean "name"?'),
    ("    name: http", "    name: http\n    protcol: HTTP", ":12:", 'did you mean "protocol"?'),
    ("    name: http", "    name: http\n    target_port: 80", ":12:", 'mean "targetPort"?'),
    ("    name: http", "    name: http\n    port: 80", ":12:", "known: name, number, protocol"),
    ("  - address: 10.0.0.1", "  - adress: 10.0.0.1", ":14:", 'did you mean "address"?'),
    ("  - address: 10.0.0.1", "  - address: 10.0.0.1\n    lables: {}", ":15:", 'mean "labels"?'),
    ("  endpoints:\n  - address: 10.0.0.1\n", "  workload_selector: {}\n", ":13:", '"workloadSe'),
    # kinds and versions
    ("kind: ServiceEntry", "kind: ServiceEntri", ":2:", 'did you mean "ServiceEntry"?'),
    ("kind: ServiceEntry", "kind: VirtualService", ":2:", "known: ServiceEntry, WorkloadEntry"),
    ("istio.io/v1\n", "istio.io/v2\n", ":1:", 'did you mean "networking.istio.io/v1"?'),
    ("  name: reviews\n", "", ":3:", "metadata.name is missing"),
    ("  name: reviews", "  name: Reviews_1", ":4:", "no DNS name in lower case"),
    # types
    ("number: 9080", 'number: "9080"', ":10:", "spec.ports[0].number: expected a whole number, no"),
    ("number: 9080", "number: 9080.5", ":10:", "expected a whole number"),
    ("hosts: [reviews.default.mesh.internal]", "hosts: reviews", ":7:", "expected a list, not"),
    ("  - address: 10.0.0.1", "  - 10.0.0.1", ":14:", "expected keys and values"),
    ("    name: http", "    name: 80", ":11:", "expected a text; quote it, not 80"),
    ("  - number: 9080\n", "  - x: 1\n", ":10:", "spec.ports[0].number is missing"),
    # semantics
    ("resolution: STATIC", "resolution: DNS", ":8:", "DNS is not supported; supported is STATIC"),
    ("  endpoints:\n", "  location: MESH\n  endpoints:\n", ":13:", "expected 'MESH_INTERNAL' or"),
    ("resolution: STATIC", "resolution: STATC", ":8:", 'did you mean "STATIC"?'),
    ("protocol: HTTP", "protocol: HTPT", ":12:", 'did you mean "HTTP"?'),
    ("protocol: HTTP", "protocol: UDP", ":12:", "UDP is not carried by the mesh"),
    ("number: 9080", "number: 0", ":10:", "0; expected 1 to 65535"),
    ("number: 9080", "number: 70000", ":10:", "70000; expected 1 to 65535"),
    ("10.0.0.1", "reviews.example.net", ":14:", "is no IP address; resolution STATIC takes"),
    ("10.0.0.1", "unix:///run/app.sock", ":14:", "unix sockets are not supported"),
    ("10.0.0.1", "0.0.0.0", ":14:", "is not the address of a host"),
    ("[reviews.default.mesh.internal]", '["*.default.mesh.internal"]', ":7:", "wildcards are not"),
    ("[reviews.default.mesh.internal]", "[reviews]", ":7:", "is no full host name"),
    ("[reviews.default.mesh.internal]", "[reviews.shop.mesh.internal]", ":7:", "namespace: shop"),
    ("[reviews.default.mesh.internal]", "[reviews.mesh.internal]", ":7:", "is no mesh name"),
    ("[reviews.default.mesh.internal]", "[a.example, a.example.]", ":7:", "is named twice"),
    ("[reviews.default.mesh.internal]", "[]", ":7:", "spec.hosts is empty; expected at least one"),
    ("  endpoints:\n", "  workloadSelector: {labels: {a: b}}\n  endpoints:\n", ":6:", "exclude"),
    ("  endpoints:\n", "  exportTo: ['.']\n  endpoints:\n", ":13:", 'only "*" is supported'),
    ("  endpoints:\n", "  addresses: [240.0.0]\n  endpoints:\n", ":13:", "neither an IP address"),
    ("  endpoints:\n", "  subjectAltNames: [a.b]\n  endpoints:\n", ":13:", "cannot read SPIFFE id"),
    (
        "  endpoints:\n",
        "  subjectAltNames: ['spiffe://mesh.internal/hostmesh/host/1']\n  endpoints:\n",
        ":13:",
        "is reserved for hosts",
    ),
    (
        "  endpoints:\n",
        "  - {number: 81, name: http}\n  - {number: 9080, name: b}\n  endpoints:\n",
        ":13:",
        "spec.ports[1].name http is there twice",
    ),
    ("10.0.0.1\n", "10.0.0.1\n    ports: {htpt: 80}\n", ":15:", 'did you mean "http"?'),
    ("10.0.0.1\n", "10.0.0.1\n    ports: {http: 0}\n", ":15:", 'port "http" is 0'),
    ("10.0.0.1\n", "10.0.0.1\n    weight: -1\n", ":15:", "weight: -1; expected 0"),
    ("10.0.0.1\n", "10.0.0.1\n    locality: a/b/c/d\n", ":15:", "expected region, region/zone"),
    ("    name: http", "    name: HTTP_1", ":11:", '"HTTP_1" is no DNS label in lower case'),
    (
        "  endpoints:\n  - address: 10.0.0.1\n",
        "  workloadSelector: {labels: {}}\n",
        ":13:",
        "expected at least one label, without wildcards",
    ),
    (
        "  endpoints:\n  - address: 10.0.0.1\n",
        "  workloadSelector: {labels: {app: 'rev*'}}\n",
        ":13:",
        "expected at least one label, without wildcards",
    ),
    ("    protocol: HTTP", "    protocol:", ":12:", "expected a text; quote it, not nothing"),
    ("    protocol: HTTP", "    protocol: {a: 1}", ":12:", "not a mapping"),
    # annotations
    (
        "spec:\n",
        "  annotations:\n    hostmesh.io/namespace: Shop_1\nspec:\n",
        ":7:",
        'annotation hostmesh.io/namespace: "Shop_1" is no DNS label',
    ),
    (
        "spec:\n",
        "  annotations:\n    hostmesh.io/alias: x\nspec:\n",
        ":7:",
        'did you mean "hostmesh.io/aliases"?',
    ),
    (
        "spec:\n",
        "  annotations:\n    hostmesh.io/require-mesh: 'yes'\nspec:\n",
        ":7:",
        'annotation hostmesh.io/require-mesh: expected "true" or "false", not "yes"',
    ),
    (
        "spec:\n",
        "  annotations:\n    hostmesh.io/require-mesh: true\nspec:\n",
        ":7:",
        "expected a text; quote it, not true",
    ),
    (
        "spec:\n",
        "  annotations:\n    hostmesh.io/server-first: htp\nspec:\n",
        ":7:",
        'no port "htp"; did you mean "http"?',
    ),
    (
        "spec:\n",
        "  annotations:\n    hostmesh.io/aliases: reviews\nspec:\n",
        ":7:",
        "is no full host name",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"), [pytest.param(*row, id=row[3]) for row in WRONG]
)
def test_wrong_documents_are_told_with_file_line_object_and_what_was_meant(
    old: str, new: str, line: str, words: str
) -> None:
    assert old in GOOD
    with pytest.raises(Unusable) as caught:
        read(GOOD.replace(old, new, 1))

    text = str(caught.value)
    assert words in text
    assert f"cannot use catalog/reviews.yaml{line}" in text
    assert "Traceback" not in text


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = GOOD.replace("9080", "0").replace("HTTP", "HTPT").replace("10.0.0.1", "x")
    with pytest.raises(Unusable) as caught:
        read(text)
    assert len(caught.value.problems) == 3
    assert all("ServiceEntry default/reviews: " in p.message for p in caught.value.problems)
