"""Wrong bodies and paths on the operator's socket: refused, and nothing is changed."""

import json

import pytest

from hostmesh_testing.bad_calls import Running, call

pytestmark = pytest.mark.process


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
    answer = call(running, "POST", f"/v1/{path}", body)
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
    assert call(running, method, path, b"").status == status
    assert running.unchanged() == before


def test_a_body_that_is_too_large(running: Running) -> None:
    before = running.unchanged()
    body = json.dumps({"service": ["web"], "label": ["v=" + "1" * 70_000]}).encode()
    assert call(running, "POST", "/v1/tokens", body).status == 413
    assert running.unchanged() == before
