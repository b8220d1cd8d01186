"""Which certificate may be issued, as a table of requests against records."""

from dataclasses import replace

import pytest

from hostmesh_controlplane.logic import authority
from hostmesh_controlplane.logic.authority import Template, Terms
from hostmesh_controlplane.logic.host_record import HostRecord, IssuedLast
from hostmesh_controlplane.logic.refusals import Reason, Refusal
from hostmesh_core import x509
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import Identity
from hostmesh_core.x509 import RequestFacts
from hostmesh_testing import forge

NOW = 1_800_000_000.0
HOUR = 3600.0
TERMS = Terms("mesh.internal", 72 * HOUR, 300.0)
WEB, API = Identity("default", "web"), Identity("default", "api")
KEY, HOST_KEY, API_KEY = (RequestFacts(name.encode()) for name in ("key", "host", "api"))
HOST = HostRecord(
    host_id="f" * 32,
    hostname="web-1",
    grant=Grant((Claim("default", "web", "web"), Claim("default", "api"))),
    token_id="0" * 16,
    enrolled_at=NOW,
    host=IssuedLast("1", NOW + HOUR, HOST_KEY.key_sha256),
    workloads=((API, IssuedLast("2", NOW + HOUR, API_KEY.key_sha256)),),
)
REVOKED = replace(HOST, revoked_at=NOW, revoked_why="stolen")


def _plan(host: HostRecord, request: RequestFacts, identity: Identity | None) -> Template | Refusal:
    if identity is None:
        return authority.plan_host(host, request, TERMS, now=NOW)
    return authority.plan_workload(host, request, identity, TERMS, now=NOW)


ALLOWED = {
    "the host's own": (KEY, None, "/hostmesh/host/" + "f" * 32),
    "the host's own, with its key again": (HOST_KEY, None, "/hostmesh/host/" + "f" * 32),
    "a workload that serves": (KEY, WEB, "/ns/default/sa/web"),
    "a workload that only calls": (KEY, API, "/ns/default/sa/api"),
    "a workload, with its key again": (API_KEY, API, "/ns/default/sa/api"),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_a_certificate_is_issued_for(case: str) -> None:
    request, identity, path = ALLOWED[case]
    plan = _plan(HOST, request, identity)
    assert isinstance(plan, Template)
    assert str(plan.spiffe_id) == f"spiffe://mesh.internal{path}"
    assert plan.key_spki == request.key_spki
    assert plan.dns_names == ()
    assert (plan.not_before, plan.not_after) == (NOW - 300, NOW + 72 * HOUR)


REFUSED = {
    "a workload of another service": (HOST, KEY, Identity("default", "payments"), "identity"),
    "a workload of another namespace": (HOST, KEY, Identity("shop", "web"), "identity"),
    "a workload with a reserved path": (HOST, KEY, Identity("x/../hostmesh", "h"), "reserved"),
    "a workload whose account has a path": (HOST, KEY, Identity("default", "web/a"), "reserved"),
    "a workload of no namespace": (HOST, KEY, Identity("", "web"), "reserved"),
    "a workload of a pattern": (HOST, KEY, Identity("default", "*"), "reserved"),
    "a workload of 70 characters": (HOST, KEY, Identity("default", "w" * 70), "reserved"),
    "a workload with the host's key": (HOST, HOST_KEY, WEB, "key"),
    "a workload with another workload's key": (HOST, API_KEY, WEB, "key"),
    "the host's own, with a workload's key": (HOST, API_KEY, None, "key"),
    "the host's own, of a revoked host": (REVOKED, KEY, None, "host_revoked"),
    "a workload of a revoked host": (REVOKED, KEY, WEB, "host_revoked"),
    "a reserved one of a revoked host": (REVOKED, KEY, Identity("/", "/"), "host_revoked"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_no_certificate_is_issued_for(case: str) -> None:
    host, request, identity, reason = REFUSED[case]
    plan = _plan(host, request, identity)
    assert isinstance(plan, Refusal)
    assert plan.reason == reason
    assert plan.text.startswith("cannot issue a certificate")


def test_names_in_a_request_decide_nothing() -> None:
    forged = forge.request(
        uris=["spiffe://mesh.internal/ns/default/sa/payments"],
        dns=["control-plane.mesh.internal"],
        subject="payments",
    )
    plan = _plan(HOST, x509.read_request(forge.der(forged)), WEB)
    assert isinstance(plan, Template)
    assert str(plan.spiffe_id) == "spiffe://mesh.internal/ns/default/sa/web"
    assert plan.dns_names == ()


def test_only_a_control_plane_has_a_dns_name() -> None:
    plan = authority.plan_control_plane(b"key", TERMS, now=NOW)
    assert plan.dns_names == ("control-plane.mesh.internal",)
    assert str(plan.spiffe_id) == "spiffe://mesh.internal/hostmesh/control-plane"


def test_a_pattern_in_a_grant_covers_what_it_matches_and_no_path() -> None:
    wide = replace(HOST, grant=Grant((Claim("*", "*", "*"),)))
    assert isinstance(_plan(wide, KEY, Identity("shop", "cart")), Template)
    for identity in (Identity("..", "hostmesh"), Identity("a", "b/../../hostmesh")):
        assert isinstance(_plan(wide, KEY, identity), Refusal)


@pytest.mark.parametrize("life", [1.0, 10.0, 600.0, 72 * HOUR])
def test_short_lives_begin_less_far_back(life: float) -> None:
    terms = replace(TERMS, life_seconds=life)
    plan = authority.plan_host(HOST, KEY, terms, now=NOW)
    assert isinstance(plan, Template)
    assert NOW - plan.not_before == pytest.approx(min(300.0, life / 10), abs=1e-3)


def test_what_is_issued_is_noted_beside_the_others() -> None:
    last = IssuedLast("9", NOW, "k")
    noted = authority.with_issued(HOST, WEB, last)
    assert isinstance(noted, HostRecord)
    assert noted.issued(WEB) == last
    assert noted.issued(API) == HOST.issued(API)
    own = authority.with_issued(HOST, None, last)
    assert isinstance(own, HostRecord)
    assert own.host == last
    assert own.workloads == HOST.workloads


def test_nothing_is_noted_for_a_revoked_host() -> None:
    assert isinstance(authority.with_issued(REVOKED, WEB, IssuedLast("9", NOW, "k")), Refusal)


def test_the_first_revocation_counts() -> None:
    once = authority.revoked(HOST, why="stolen", now=NOW)
    assert once.revoked
    assert authority.revoked(once, why="again", now=NOW + 9) == once


def test_a_narrower_grant_forgets_the_certificates_it_no_longer_covers() -> None:
    after = authority.without_identities_outside(HOST, Grant((Claim("default", "web", "web"),)))
    assert after.workloads == ()
    assert after.host == HOST.host


def test_an_unknown_host_is_told_to_join() -> None:
    refusal = authority.unknown_host("abcdef0123")
    assert refusal.reason is Reason.HOST_UNKNOWN
    assert "abcdef01 " in refusal.text
