from hypothesis import given, settings
from hypothesis import strategies as st

from hostmesh_controlplane.events.catalogs import FilesRead, FileText
from hostmesh_controlplane.logic.catalog import CatalogService, SourceChanged
from hostmesh_controlplane.logic.static_catalog import StaticCatalog, files_read, parsed
from hostmesh_core.model import Locality, Port, Protocol

REVIEWS = "reviews.default.mesh.internal"
RATINGS = "ratings.default.mesh.internal"


def entry(
    name: str = "reviews", *, spec: str = "endpoints: [{address: 10.0.0.1}]", ports: str = ""
) -> str:
    ports = ports or "[{number: 9080, name: http, protocol: HTTP}]"
    return (
        "apiVersion: networking.istio.io/v1\n"
        "kind: ServiceEntry\n"
        f"metadata: {{name: {name}}}\n"
        "spec:\n"
        f"  hosts: [{name}.default.mesh.internal]\n"
        "  resolution: STATIC\n"
        f"  ports: {ports}\n"
        f"  {spec}\n"
        "---\n"
    )


def workload(name: str, address: str, *, more: str = "") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
        f"metadata: {{name: {name}}}\n"
        f"spec: {{address: {address}, labels: {{app: reviews}}{more}}}\n---\n"
    )


class Source:
    def __init__(self) -> None:
        self.catalog = StaticCatalog("files", "mesh.internal")

    def write(self, **files: str | None) -> list[SourceChanged]:
        texts = tuple(FileText(f"{n}.yaml", t) for n, t in files.items() if t is not None)
        gone = tuple(f"{name}.yaml" for name, text in files.items() if text is None)
        return self.read(FilesRead("files", texts, gone))

    def read(self, event: FilesRead) -> list[SourceChanged]:
        files = {file.path: parsed(file, mesh_domain="mesh.internal") for file in event.changed}
        self.catalog, changes = files_read(self.catalog, event, files)
        return changes

    def service(self, host: str = REVIEWS) -> CatalogService:
        return self.catalog.services[host]

    def keys(self, host: str = REVIEWS) -> list[str]:
        return [str(endpoint.key) for endpoint in self.service(host).endpoints]

    def problems(self) -> list[str]:
        return [str(problem) for problem in self.catalog.problems]


def test_many_documents_in_many_files() -> None:
    source = Source()
    changes = source.write(a=entry() + entry("ratings"), b=workload("w", "10.0.0.9"))

    assert [change.host for change in changes] == [RATINGS, REVIEWS]
    assert source.service().ports == (Port(9080, Protocol.HTTP, "http"),)
    assert source.service().short_name == "reviews"
    assert source.service().origin == "a.yaml:1"
    assert source.problems() == []


def test_only_what_truly_changed_is_told() -> None:
    source = Source()
    source.write(a=entry() + entry("ratings"))

    assert source.write(a="# a comment\n" + entry() + entry("ratings")) != []  # lines moved
    changed = entry("ratings", spec="endpoints: [{address: 10.0.0.2}]")
    assert [c.host for c in source.write(a="# a comment\n" + entry() + changed)] == [RATINGS]
    assert [(c.host, c.service) for c in source.write(a=None)] == [(RATINGS, None), (REVIEWS, None)]


def test_endpoint_fields() -> None:
    spec = (
        "endpoints: [{address: 10.0.0.1, weight: 5, labels: {version: v2}, network: east,"
        " locality: eu/eu-1, ports: {http: 8080}}, {address: 'fd77::1'}]"
    )
    source = Source()
    source.write(a=entry(spec=spec, ports="[{number: 9080, name: http, targetPort: 9000}]"))

    six, four = source.service().endpoints
    assert str(four.key) == "east/10.0.0.1:8080"
    assert (four.weight, four.labels) == (5, (("version", "v2"),))
    assert four.locality == Locality("eu", "eu-1")
    assert (str(six.key), six.service_port, six.weight) == ("[fd77::1]:9000", 9080, 1)


def test_an_endpoint_says_the_file_and_line_that_it_is_written_in() -> None:
    spec = "endpoints:\n  - {address: 10.0.0.1}\n  - {address: 10.0.0.2}"
    source = Source()
    source.write(a=entry(spec=spec))
    one, two = (endpoint.origin.file for endpoint in source.service().endpoints)
    name, line = one.rsplit(":", 1)
    assert two == f"{name}:{int(line) + 1}"


def test_every_port_of_an_instance_is_an_endpoint() -> None:
    source = Source()
    ports = "[{number: 80, name: web, targetPort: 8080}, {number: 9090, name: admin}]"
    source.write(a=entry(ports=ports))
    served = [(str(e.key), e.service_port) for e in source.service().endpoints]
    assert served == [("10.0.0.1:8080", 80), ("10.0.0.1:9090", 9090)]


def test_a_selector_finds_workload_entries_of_its_namespace() -> None:
    source = Source()
    selector = "workloadSelector: {labels: {app: reviews}}"
    other = workload("w3", "10.0.0.3").replace("app: reviews", "app: other")
    foreign = workload("w4", "10.0.0.4").replace("name: w4", "name: w4, namespace: shop")
    source.write(a=entry(spec=selector), b=workload("w1", "10.0.0.1") + other + foreign)
    assert source.keys() == ["10.0.0.1:9080"]

    changes = source.write(c=workload("w2", "10.0.0.2"))
    assert [change.host for change in changes] == [REVIEWS]
    assert source.keys() == ["10.0.0.1:9080", "10.0.0.2:9080"]
    source.write(b=None)
    assert source.keys() == ["10.0.0.2:9080"]


def test_two_entries_of_one_host_are_one_service() -> None:
    source = Source()
    second = entry(spec="endpoints: [{address: 10.0.0.2}]").replace("name: reviews}", "name: more}")
    source.write(a=entry(), b=second.replace("protocol: HTTP", "protocol: GRPC"))

    assert source.keys() == ["10.0.0.1:9080", "10.0.0.2:9080"]
    assert source.service().ports[0].protocol is Protocol.HTTP
    assert source.service().problems == ("b.yaml:1: port 9080 speaks http by a.yaml:1, not grpc",)


def test_a_bad_document_takes_no_good_one_along() -> None:
    source = Source()
    source.write(a=entry() + entry("ratings").replace("hosts", "hsots") + workload("w", "10.0.0.9"))

    assert source.keys() == ["10.0.0.1:9080"]
    assert RATINGS not in source.catalog.services
    assert any('did you mean "hosts"?' in problem for problem in source.problems())


def test_a_bad_document_keeps_the_last_good_version_of_its_object() -> None:
    source = Source()
    source.write(a=entry() + entry("ratings"))

    bad = entry().replace("resolution: STATIC", "resolution: DNS")
    changes = source.write(a=bad)

    assert [(c.host, c.service) for c in changes] == [(RATINGS, None)]  # that one was taken out
    assert source.keys() == ["10.0.0.1:9080"]
    assert any("its last good version stays in force" in p for p in source.problems())
    changes = source.write(a=bad)  # and still after the next look
    assert changes == []
    source.write(a=entry(spec="endpoints: [{address: 10.0.0.7}]"))
    assert source.keys() == ["10.0.0.7:9080"]
    assert source.problems() == []


def test_a_document_that_is_not_even_yaml_keeps_all_of_its_file() -> None:
    source = Source()
    source.write(a=entry() + entry("ratings"), b=entry("other"))

    changes = source.write(a=entry(spec="endpoints: [{address: 10.0.0.7}]") + "kind: [\n")

    assert [change.host for change in changes] == [REVIEWS]
    assert source.keys() == ["10.0.0.7:9080"]
    assert RATINGS in source.catalog.services
    assert any(p.startswith("cannot use a.yaml:") and "not YAML" in p for p in source.problems())


def test_an_unreadable_file_keeps_its_objects() -> None:
    source = Source()
    source.write(a=entry())
    text = FileText("a.yaml", "", "cannot read a.yaml: Permission denied")
    assert source.read(FilesRead("files", (text,))) == []
    assert "Permission denied; its objects stay as they were" in source.problems()[0]


def test_an_object_that_is_there_twice_counts_once_and_is_reported() -> None:
    source = Source()
    source.write(b=entry(), a=entry(spec="endpoints: [{address: 10.0.0.2}]"))

    assert source.keys() == ["10.0.0.2:9080"]
    assert source.problems() == [
        "cannot use b.yaml:3: ServiceEntry default/reviews: is there already, at a.yaml:1; it"
        " counts"
    ]
    source.write(a=None)
    assert source.keys() == ["10.0.0.1:9080"]


def test_a_host_of_two_namespaces_belongs_to_the_first() -> None:
    source = Source()
    elsewhere = entry().replace("name: reviews}", "name: reviews, namespace: shop}")
    text = elsewhere.replace("reviews.default.mesh.internal", "api.example.com")
    source.write(a=entry().replace("reviews.default.mesh.internal", "api.example.com"), b=text)

    assert source.service("api.example.com").namespace == "default"
    assert "is not used" in source.service("api.example.com").problems[0]


def test_what_has_no_effect_is_said() -> None:
    source = Source()
    spec = "endpoints: [{address: 10.0.0.1, serviceAccount: root}]\n  addresses: [10.9.9.9]"
    source.write(a=entry(spec=spec))
    addresses, account = source.service().problems
    assert "spec.addresses has no effect" in addresses
    assert "serviceAccount has no effect" in account


def test_kinds_and_workload_entries_without_annotations_of_ours() -> None:
    source = Source()
    wrong = workload("w", "10.0.0.1").replace("name: w", "name: w, annotations: {hostmesh.io/x: y}")
    source.write(a=wrong + "kind: Gateway\napiVersion: v1\nmetadata: {name: g}\n")
    assert len(source.problems()) == 2
    assert all("cannot use a.yaml" in problem for problem in source.problems())


DOCUMENTS = {
    "entry": entry(),
    "moved": entry(spec="endpoints: [{address: 10.0.0.9}]"),
    "selecting": entry("ratings", spec="workloadSelector: {labels: {app: reviews}}"),
    "more": entry().replace("{name: reviews}", "{name: more}"),
    "one": workload("w1", "10.0.0.1"),
    "other": workload("w1", "10.0.0.2"),
    "two": workload("w2", "10.0.0.3"),
}
contents = st.lists(st.sampled_from(sorted(DOCUMENTS)), max_size=4, unique=True)
edits = st.lists(
    st.tuples(st.sampled_from("abc"), st.one_of(st.none(), contents)), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(edits)
def test_what_is_read_change_by_change_is_what_is_read_at_once(
    written: list[tuple[str, list[str] | None]],
) -> None:
    source, files = Source(), dict[str, str]()
    told: dict[str, CatalogService | None] = {}
    for name, documents in written:
        text = None if documents is None else "".join(DOCUMENTS[one] for one in documents)
        files.pop(name, None)
        files.update({} if text is None else {name: text})
        told.update({change.host: change.service for change in source.write(**{name: text})})
    fresh = Source()
    fresh.write(**files)

    assert dict(source.catalog.services) == dict(fresh.catalog.services)
    assert source.problems() == fresh.problems()
    assert {h: s for h, s in told.items() if s} == dict(fresh.catalog.services)
