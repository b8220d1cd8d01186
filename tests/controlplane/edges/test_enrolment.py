"""The enrolment listener on a real socket: what the internet may do to it, and what it may not."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import pytest

from hostmesh_agent.edges.keys import new_key
from hostmesh_controlplane.edges import enrolment
from hostmesh_controlplane.edges.enrolment import CannotListen, open_socket
from hostmesh_controlplane.edges.rate_limit import RateLimit
from hostmesh_core import x509
from hostmesh_core.errors import BadInput
from hostmesh_testing.enrolment import Server, enrolment_server

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limit = RateLimit(per_second=1e6, burst=1e6)
    with enrolment_server(tmp_path_factory.mktemp("cp"), limit=limit) as running:
        yield running


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _connection(server: Server) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(
        server.address.host, server.address.port, context=_context(), timeout=10
    )


def _ask(
    server: Server, method: str, path: str, body: bytes | str | None = None
) -> tuple[int, Mapping[str, object], Mapping[str, str]]:
    with closing(_connection(server)) as connection:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), dict(response.headers)


def _enrol_body(server: Server, **changes: object) -> str:
    _, challenge, _ = _ask(server, "POST", "/v1/challenge")
    body = {
        "nonce": challenge["nonce"],
        "token": server.token(),
        "csr": new_key().csr_pem.decode(),
        "hostname": "web-1",
    }
    return json.dumps({**body, **changes})


def test_the_bundle_is_public_and_tells_the_time(server: Server) -> None:
    status, answer, _ = _ask(server, "GET", "/v1/bundle")
    assert status == 200
    assert answer["bundles"] == server.authority.bundles.to_json()
    assert abs(float(str(answer["server_time"])) - time.time()) < 5


def test_a_host_joins(server: Server) -> None:
    status, answer, _ = _ask(server, "POST", "/v1/enrol", _enrol_body(server))
    assert status == 200
    assert answer["trust_domain"] == "mesh.internal"
    assert answer["default_identity"] == "default/reviews"
    host = server.authority.host(str(answer["host_id"]))
    assert host is not None
    assert host.enrolled_from == "127.0.0.1"
    leaf = x509.load_pem_chain(str(answer["chain"]).encode())[0]
    assert str(x509.spiffe_id_of(leaf)).endswith(f"/hostmesh/host/{host.host_id}")


NOT_JSON = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a text": b'"token"',
    "bytes of no text": b"\xff\xfe\x00",
    "a nesting without end": b'{"a":' + b"[" * 5000,
    "no fields": b"{}",
    "a token that is a number": b'{"nonce": "a", "token": 7, "csr": ""}',
    "an open end": b'{"nonce": "a", "token": "b"}',
}


@pytest.mark.parametrize("case", NOT_JSON)
def test_a_bad_request_gets_a_sentence(server: Server, case: str) -> None:
    status, answer, headers = _ask(server, "POST", "/v1/enrol", NOT_JSON[case])
    assert status == 400
    assert str(answer["error"]).startswith("cannot ")
    assert headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({"token": "nonsense"}, 400, id="a token that is none"),
        pytest.param({"token": f"hm1.{'0' * 16}.{'0' * 64}.{'0' * 64}"}, 403, id="unknown"),
        pytest.param({"csr": "nonsense"}, 400, id="a CSR that is none"),
        pytest.param({"nonce": "nonsense"}, 409, id="a nonce that nobody gave"),
    ],
)
def test_a_request_is_refused_with(
    server: Server, changes: Mapping[str, object], status: int
) -> None:
    seen, answer, _ = _ask(server, "POST", "/v1/enrol", _enrol_body(server, **changes))
    assert seen == status
    assert str(answer["error"]).startswith("cannot ")


def test_a_recorded_request_is_worthless(server: Server) -> None:
    body = _enrol_body(server, token=server.token(uses=10))
    assert _ask(server, "POST", "/v1/enrol", body)[0] == 200
    hosts = len(server.authority.hosts())
    status, answer, _ = _ask(server, "POST", "/v1/enrol", body)
    assert status == 409
    assert answer["reason"] == "challenge"
    assert len(server.authority.hosts()) == hosts


def test_a_body_over_16_kib_is_not_read(server: Server) -> None:
    status, answer, _ = _ask(server, "POST", "/v1/enrol", b"x" * (16 * 1024 + 1))
    assert status == 413
    assert "over 16384 bytes" in str(answer["error"])


def test_a_body_of_megabytes_ends_the_connection_at_the_latest(server: Server) -> None:
    began = time.monotonic()
    # It may answer and close before all of it is sent.
    with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
        assert _ask(server, "POST", "/v1/enrol", b"x" * 50_000_000)[0] == 413
    assert time.monotonic() - began < 5


def test_a_body_of_unstated_length_is_limited_too(server: Server) -> None:
    with closing(_connection(server)) as connection:
        chunks = (b"x" * 1024 for _ in range(64))
        try:
            connection.request(
                "POST",
                "/v1/enrol",
                chunks,
                encode_chunked=True,
                headers={"Transfer-Encoding": "chunked"},
            )
            assert connection.getresponse().status == 413
        except (BrokenPipeError, ConnectionResetError):
            pass


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/", 404, id="nothing"),
        pytest.param("GET", "/v1/enrol", 405, id="the wrong method"),
        pytest.param("POST", "/v1/bundle", 405, id="a write of the bundle"),
        pytest.param("POST", "/v1/renew-expired", 404, id="what comes later"),
        pytest.param("GET", "/metrics", 404, id="what is elsewhere"),
        pytest.param("GET", "/v1/../../etc/passwd", 404, id="a path that climbs"),
    ],
)
def test_there_is_nothing_else(server: Server, method: str, path: str, status: int) -> None:
    seen, answer, _ = _ask(server, method, path)
    assert seen == status
    assert str(answer["error"]).startswith("cannot answer")


def test_no_answer_about_a_token_comes_before_its_time(server: Server) -> None:
    for changes in ({"token": "nonsense"}, {"nonce": "nonsense"}, {}):
        body = _enrol_body(server, **changes)
        began = time.monotonic()
        _ask(server, "POST", "/v1/enrol", body)
        assert time.monotonic() - began >= enrolment.ANSWER_SECONDS


def test_plain_http_gets_nothing(server: Server) -> None:
    with closing(socket.create_connection((server.address.host, server.address.port))) as plain:
        plain.settimeout(5)
        plain.sendall(b"GET /v1/bundle HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            answer = plain.recv(4096)
        except ConnectionResetError:
            answer = b""
    assert b"CERTIFICATE" not in answer


def test_who_says_nothing_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "CONNECTION_SECONDS", 0.5)
    monkeypatch.setattr(enrolment, "HANDSHAKE_SECONDS", 0.3)
    with enrolment_server(tmp_path) as server:
        where = (server.address.host, server.address.port)
        with closing(socket.create_connection(where, timeout=5)) as silent:
            assert silent.recv(1) == b""
        with (
            closing(socket.create_connection(where, timeout=5)) as plain,
            _context().wrap_socket(plain) as secure,
        ):
            secure.sendall(b"GET /v1/bundle HT")
            assert secure.recv(1) == b""


def test_tls_below_1_3_is_refused(server: Server) -> None:
    context = _context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        pytest.raises(ssl.SSLError),
        closing(socket.create_connection((server.address.host, server.address.port))) as plain,
    ):
        context.wrap_socket(plain)


def test_who_asks_too_often_is_told_to_wait(tmp_path: Path) -> None:
    limit = RateLimit(per_second=0.5, burst=3)
    with enrolment_server(tmp_path, limit=limit) as limited:
        answers = [_ask(limited, "GET", "/v1/bundle") for _ in range(4)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 429]
    _, answer, headers = answers[-1]
    assert "too many requests from this address" in str(answer["error"])
    assert 1 <= int(headers["Retry-After"]) <= 2


def test_a_renewed_serving_certificate_is_shown_without_a_restart(server: Server) -> None:
    def shown() -> bytes:
        with (
            closing(socket.create_connection((server.address.host, server.address.port))) as plain,
            _context().wrap_socket(plain) as secure,
        ):
            return secure.getpeercert(binary_form=True) or b""

    before = shown()
    server.renew_serving()
    after = shown()
    assert after != before
    leaf = x509.load_der(after)
    assert x509.dns_names_of(leaf) == ("control-plane.mesh.internal",)


def test_no_file_with_a_key_is_left_open(server: Server) -> None:
    server.renew_serving()
    shown = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists this folder is gone already
            shown.append(str(entry.readlink()))
    assert shown
    assert not any("credentials" in link for link in shown)


def test_the_any_address_takes_both_families() -> None:
    with closing(open_socket("[::]:0")) as bound:
        port = bound.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        socket.create_connection(("::1", port), timeout=5).close()


@pytest.mark.parametrize(
    "listen",
    [
        pytest.param("", id="nothing"),
        pytest.param("15013", id="a port alone"),
        pytest.param("localhost:15013", id="a name"),
        pytest.param("127.0.0.1:port", id="a port in words"),
    ],
)
def test_no_address_to_listen_on_is(listen: str) -> None:
    with pytest.raises(BadInput, match="cannot listen on"):
        open_socket(listen)


def test_a_port_that_is_taken_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1:{port}: .*in use"):
            open_socket(f"127.0.0.1:{port}")
