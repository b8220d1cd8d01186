"""Wrong calls of a running control plane: refused with a clear sentence, and nothing is changed."""

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hostmesh_testing import command_line
from hostmesh_testing.plane_process import EnrolledHost, PlaneProcess, plane_process

pytestmark = pytest.mark.process

CATALOG = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.mesh.internal]
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints: [{address: 10.9.0.1}, {address: 10.9.0.2}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ratings, annotations: {hostmesh.io/require-mesh: "true"}}
spec:
  hosts: [ratings.default.mesh.internal]
  resolution: STATIC
  ports: [{number: 9090, name: grpc, protocol: GRPC}]
  endpoints: [{address: 10.9.0.3}]
"""


@dataclass(frozen=True)
class Running:
    """A control plane with two services, a host and a token that is left."""

    plane: PlaneProcess
    host: EnrolledHost

    def unchanged(self) -> tuple[object, object]:
        return self.plane.answers(), self.plane.state_files()

    def hostmesh(self, *argv: str) -> command_line.Ended:
        filled = [text.replace("HOST", self.host.host_id) for text in argv]
        return command_line.run("hostmesh", "--api", self.plane.socket, *filled)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with plane_process() as plane:
        (plane.catalog / "services.yaml").write_text(CATALOG)
        plane.start()
        host = plane.enrol("web-1", service=["web"], cidr=["10.9.0.0/24"])
        plane.token(service=["web"], uses=3)
        yield Running(plane, host)


BAD_INPUT, REFUSED = 2, 1


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        pytest.param(
            ["token", "create", "--service", "web", "--namespace", "Default"],
            BAD_INPUT,
            "cannot create the token: namespace: 'Default' is no name or pattern",
            id="a token for a namespace in capitals",
        ),
        pytest.param(
            ["token", "create", "--service", "web shop"],
            BAD_INPUT,
            "cannot create the token: service: 'web shop' is no name or pattern",
            id="a token for a service with a space",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--cidr", "10.1.0.0/33"],
            BAD_INPUT,
            "cannot create the token: cidr: '10.1.0.0/33' is no network such as 10.1.0.0/16",
            id="a token for a network that is none",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--cidr", "10.1.2.3/16"],
            BAD_INPUT,
            "cidr: '10.1.2.3/16' has host bits; did you mean \"10.1.0.0/16\"?",
            id="a token for a network with host bits",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--label", "version"],
            BAD_INPUT,
            "cannot create the token: label: 'version' is not KEY=VALUE",
            id="a token with a label without a value",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--label", "v=1", "--label", "v=2"],
            BAD_INPUT,
            "cannot create the token: label: 'v' is given twice",
            id="a token with one label twice",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--uses", "0"],
            BAD_INPUT,
            "Invalid value for '--uses': 0 is not in the range x>=1",
            id="a token for nobody",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--uses", "10000000"],
            BAD_INPUT,
            "cannot create the token: uses: expected a number from 1 to 1e+06, not 10000000",
            id="a token for more hosts than there are",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--ttl", "1y"],
            BAD_INPUT,
            "cannot use duration '1y': write a number and s, m, h or d",
            id="a token for a unit of time that is not known",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--ttl", "9999d"],
            BAD_INPUT,
            "cannot create the token: ttl_seconds: expected a number from 1 to ",
            id="a token that outlives everything",
        ),
        pytest.param(
            ["token", "create"],
            BAD_INPUT,
            "cannot create the token: service: a token needs a --service, or a --service-account",
            id="a token for nothing",
        ),
        pytest.param(
            ["token", "create", "--service", "web", "--role", "router"],
            BAD_INPUT,
            "Invalid value for '--role': 'router' is not one of 'sidecar', 'gateway'",
            id="a token for a role that does not exist",
        ),
        pytest.param(
            ["token", "revoke", "0000000000000000"],
            BAD_INPUT,
            "cannot revoke token '0000000000000000': there is none; list them with: hostmesh token",
            id="the end of a token that does not exist",
        ),
        pytest.param(
            ["endpoints", "reveiws"],
            BAD_INPUT,
            'cannot find service reveiws; did you mean "reviews"?; look at: hostmesh services',
            id="the endpoints of a service that does not exist",
        ),
        pytest.param(
            ["service", "show", "reviews.shop.mesh.internal"],
            BAD_INPUT,
            'cannot find service reviews.shop.mesh.internal; did you mean "reviews.default.mesh.',
            id="a service of another namespace",
        ),
        pytest.param(
            ["service", "require-mesh", "nothing"],
            BAD_INPUT,
            "cannot find service nothing; look at: hostmesh services",
            id="the mesh required of a service that does not exist",
        ),
        pytest.param(
            ["service", "require-mesh", "reviews"],
            REFUSED,
            "2 endpoints are not meshed and healthy: 10.9.0.1:9080 (files), 10.9.0.2:9080 (files)",
            id="the mesh required while healthy endpoints have no agent",
        ),
        pytest.param(
            ["service", "allow-unmeshed", "reviews"],
            REFUSED,
            "it is plain, so all of its endpoints are reached as their catalog says already",
            id="plaintext allowed where there is nothing else",
        ),
        pytest.param(
            ["service", "allow-unmeshed", "ratings"],
            REFUSED,
            "says hostmesh.io/require-mesh; take the annotation out first",
            id="plaintext allowed against a static document",
        ),
        pytest.param(
            ["service", "allow-unmeshed", "reviews", "--cidr", "10.9.0.1/24"],
            BAD_INPUT,
            "cidr: '10.9.0.1/24' has host bits; did you mean \"10.9.0.0/24\"?",
            id="plaintext allowed in a network with host bits",
        ),
        pytest.param(
            ["source", "accept", "flies"],
            BAD_INPUT,
            'cannot find source flies; did you mean "files"?',
            id="a source that does not exist",
        ),
        pytest.param(
            ["proxy-status", "web-2"],
            BAD_INPUT,
            "cannot find host 'web-2'; did you mean \"web-1\"?; list them with: hostmesh hosts",
            id="the proxy of a host that does not exist",
        ),
        pytest.param(
            ["host", "grant", "no-such-host", "--add-service", "api"],
            BAD_INPUT,
            "cannot find host 'no-such-host'",
            id="a grant for a host that does not exist",
        ),
        pytest.param(
            ["host", "grant", "HOST", "--remove-service", "api"],
            BAD_INPUT,
            "cannot remove default/api: the grant covers services default/web",
            id="a service taken away that was never granted",
        ),
        pytest.param(
            ["host", "grant", "HOST", "--remove-service-account", "shop/web"],
            BAD_INPUT,
            "cannot remove shop/web: the grant covers services default/web",
            id="an account taken away in another namespace",
        ),
        pytest.param(
            ["host", "grant", "HOST", "--remove-cidr", "10.8.0.0/24"],
            BAD_INPUT,
            "cannot remove network 10.8.0.0/24: the grant has 10.9.0.0/24",
            id="a network taken away that was never granted",
        ),
        pytest.param(
            ["host", "grant", "HOST", "--add-cidr", "everywhere"],
            BAD_INPUT,
            "cannot change the grant: add_cidr: 'everywhere' is no network",
            id="a network that is a word",
        ),
        pytest.param(
            ["host", "grant", "HOST"],
            BAD_INPUT,
            "cannot change a grant without a change; see: hostmesh host grant --help",
            id="a grant changed by nothing",
        ),
        pytest.param(
            ["host", "revoke", "web-9", "--yes"],
            BAD_INPUT,
            "cannot find host 'web-9'; did you mean \"web-1\"?",
            id="a host revoked that does not exist",
        ),
        pytest.param(
            ["host", "revoke", "HOST", "--yes", "--reason", "x" * 70_000],
            BAD_INPUT,
            "cannot send so much in one call",
            id="a reason longer than a call may be",
        ),
    ],
)
def test_a_wrong_call_by_the_command_line(
    running: Running, argv: list[str], status: int, said: str
) -> None:
    before = running.unchanged()
    ended = running.hostmesh(*argv)
    assert said in ended.err, ended.err
    assert (ended.status, ended.out) == (status, "")
    assert "Traceback" not in ended.err
    assert running.unchanged() == before


@dataclass(frozen=True)
class Answer:
    status: int
    text: str

    @property
    def error(self) -> str:
        return str(json.loads(self.text)["error"])


def _call(running: Running, method: str, path: str, body: bytes) -> Answer:
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(running.plane.socket)
    try:
        connection.request(method, path.replace("HOST", running.host.host_id), body=body)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        pytest.param(
            "tokens", b'{"service": ["web"]', "cannot read the request's body as JSON", id="cut off"
        ),
        pytest.param(
            "tokens", b"\xff\xfe", "cannot read the request's body as JSON", id="not text"
        ),
        pytest.param(
            "tokens", b'["web"]', "expected a JSON object", id="a list where an object belongs"
        ),
        pytest.param(
            "tokens",
            b'{"services": ["web"]}',
            "unknown field 'services'; did you mean \"service\"?",
            id="a token by a field that does not exist",
        ),
        pytest.param(
            "tokens",
            b'{"service": "web"}',
            "service: expected a list of texts, not 'web'",
            id="a token with one text where a list belongs",
        ),
        pytest.param(
            "tokens",
            b'{"service": ["web"], "uses": NaN}',
            "uses: expected a number from 1 to 1e+06, not nan",
            id="a token for not a number of hosts",
        ),
        pytest.param(
            "tokens",
            b'{"service": ["web"], "uses": true}',
            "uses: expected a number from 1 to 1e+06, not True",
            id="a token for true hosts",
        ),
        pytest.param(
            "tokens",
            b'{"service": ["web"], "kind": "agnet"}',
            "kind: unknown 'agnet'; did you mean \"agent\"?",
            id="a token for a kind that does not exist",
        ),
        pytest.param(
            "services/reviews/require-mesh",
            b'{"force": "yes"}',
            "cannot require the mesh: force: expected true or false, not 'yes'",
            id="the mesh required with a word for true",
        ),
        pytest.param(
            "services/reviews/require-mesh",
            b'{"forced": true}',
            "cannot require the mesh: unknown field 'forced'; did you mean \"force\"?",
            id="the mesh required by a field that does not exist",
        ),
        pytest.param(
            "services/ratings/allow-unmeshed",
            b'{"cidrs": ["10.9.0.0/24"]}',
            "cannot allow unmeshed endpoints: unknown field 'cidrs'; did you mean \"cidr\"?",
            id="plaintext allowed by a field that does not exist",
        ),
        pytest.param(
            "sources/files/accept",
            b'{"all": true}',
            "cannot accept the source: unknown field 'all'",
            id="a source accepted with a field",
        ),
        pytest.param(
            "hosts/HOST/grant",
            b'{"add_services": ["api"]}',
            "unknown field 'add_services'; did you mean \"add_service\"?",
            id="a grant by a field that does not exist",
        ),
        pytest.param(
            "hosts/HOST/grant",
            b"{}",
            "cannot change the grant: no change was asked for",
            id="a grant changed by an empty object",
        ),
        pytest.param(
            "hosts/HOST/revoke",
            b'{"reason": 7}',
            "cannot revoke the host: reason: expected a text, not 7",
            id="a host revoked for a number",
        ),
    ],
)
def test_a_wrong_body(running: Running, path: str, body: bytes, said: str) -> None:
    before = running.unchanged()
    answer = _call(running, "POST", f"/v1/{path}", body)
    assert (answer.status, said in answer.error) == (400, True), answer.text
    assert running.unchanged() == before


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("POST", "/v1/nothing", 404, id="a call that does not exist"),
        pytest.param("DELETE", "/v1/hosts/HOST/revoke", 405, id="a method that does not exist"),
        pytest.param("GET", "/v1/tokens/../../etc/passwd", 404, id="a path that climbs"),
    ],
)
def test_a_call_that_leads_nowhere(running: Running, method: str, path: str, status: int) -> None:
    before = running.unchanged()
    assert _call(running, method, path, b"").status == status
    assert running.unchanged() == before


def test_a_body_that_is_too_large(running: Running) -> None:
    before = running.unchanged()
    body = json.dumps({"service": ["web"], "label": ["v=" + "1" * 70_000]}).encode()
    assert _call(running, "POST", "/v1/tokens", body).status == 413
    assert running.unchanged() == before


def test_a_control_plane_that_is_not_there(running: Running) -> None:
    ended = command_line.run("hostmesh", "--api", running.plane.socket + ".gone", "services")
    assert ended.status == 1
    assert "it does not run here; start it with: hostmesh-controlplane run" in ended.err


def test_every_refused_write_is_in_the_audit_log_and_none_made_a_traceback(
    running: Running,
) -> None:
    _call(running, "POST", "/v1/sources/files/accept", b'{"why": 1}')
    running.hostmesh("service", "require-mesh", "reviews")
    log = running.plane.log()
    assert "call='POST /v1/sources/files/accept' user=" in log
    assert "outcome=\"cannot accept the source: unknown field 'why'\"" in log
    assert "outcome='cannot require mesh for reviews.default.mesh.internal: 2 endpoints" in log
    assert "Traceback" not in log
