"""Who is let in, and what the record of a new host says."""

import pytest

from hostmesh_controlplane.logic import enrolment, tokens
from hostmesh_controlplane.logic.enrolment import Admission, Applicant
from hostmesh_controlplane.logic.refusals import Refusal
from hostmesh_controlplane.logic.tokens import TokenRecord, TokenRequest
from hostmesh_core.token import JoinToken

NOW = 1_800_000_000.0
TOKEN = JoinToken("0" * 16, "5e" * 32, "ab" * 32)


def _record() -> TokenRecord:
    request = TokenRequest.parse({"service": ["web"], "kind": "envoy"}, mesh_domain="mesh.internal")
    return tokens.record_of(request, TOKEN, now=NOW)


def _admit(
    record: TokenRecord | None, *, hostname: str = "web-1", host_id: str = "1" * 32
) -> Admission | Refusal:
    applicant = Applicant(key_sha256="k" * 64, hostname=hostname, address="10.0.0.7")
    return enrolment.admit(record, TOKEN, applicant, new_host_id=host_id, now=NOW)


def test_a_new_host_is_what_its_token_says() -> None:
    record = _record()
    admission = _admit(record)
    assert isinstance(admission, Admission)
    assert admission.host.grant == record.grant
    assert admission.host.kind == record.kind
    assert admission.host.host_id == "1" * 32
    assert admission.host.enrolled_from == "10.0.0.7"
    assert admission.token.uses_left == 0
    assert not admission.again


def test_the_same_key_gets_the_same_host_and_costs_no_use() -> None:
    first = _admit(_record())
    assert isinstance(first, Admission)
    second = _admit(first.token, host_id="2" * 32)
    assert isinstance(second, Admission)
    assert second.again
    assert second.host.host_id == "1" * 32
    assert second.token == first.token


def test_nobody_is_let_in_without_a_token() -> None:
    assert isinstance(_admit(None), Refusal)


@pytest.mark.parametrize(
    ("stated", "shown"),
    [
        pytest.param("web-1.example.net", "web-1.example.net", id="an ordinary name"),
        pytest.param("", "unnamed", id="nothing"),
        pytest.param("\x1b[31mred\n", "31mred", id="control characters"),
        pytest.param("ωεβ", "unnamed", id="another script"),
        pytest.param("a" * 9000, "a" * 253, id="too much"),
    ],
)
def test_a_host_may_call_itself_anything_and_tables_stay_readable(stated: str, shown: str) -> None:
    admission = _admit(_record(), hostname=stated)
    assert isinstance(admission, Admission)
    assert admission.host.hostname == shown
