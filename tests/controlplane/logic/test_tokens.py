"""What a token covers, and when it lets somebody in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_controlplane.logic import tokens
from hostmesh_controlplane.logic.refusals import Reason, Refusal
from hostmesh_controlplane.logic.tokens import TokenRecord, TokenRequest
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Claim, Grant, Kind, Role
from hostmesh_core.token import JoinToken

NOW = 1_800_000_000.0
TOKEN = JoinToken("0" * 16, "5e" * 32, "ab" * 32)
KEY, OTHER_KEY = "k" * 64, "o" * 64


def _request(**body: object) -> TokenRequest:
    return TokenRequest.parse({"service": ["reviews"], **body}, mesh_domain="mesh.internal")


def _record(**body: object) -> TokenRecord:
    return tokens.record_of(_request(**body), TOKEN, now=NOW)


def _checked(record: TokenRecord | None, *, key: str = KEY, now: float = NOW) -> str:
    outcome = tokens.check(record, TOKEN, key_sha256=key, now=now)
    return outcome.reason if isinstance(outcome, Refusal) else "welcome"


def test_a_token_is_for_one_use_within_an_hour_unless_said_otherwise() -> None:
    record = _record()
    assert record.uses == 1
    assert record.expires_at == NOW + 3600
    assert record.grant == Grant(claims=(Claim("default", "reviews", "reviews"),))
    assert record.kind is Kind.AGENT


CLAIMS: dict[str, tuple[dict[str, object], list[tuple[str, str, str]]]] = {
    "a service runs under its own account": (
        {"service": ["reviews"]},
        [("default", "reviews", "reviews")],
    ),
    "two services, an account each": (
        {"service": ["a", "b"]},
        [("default", "a", "a"), ("default", "b", "b")],
    ),
    "two services under one account": (
        {"service": ["a", "b"], "service_account": ["app"]},
        [("default", "app", "a"), ("default", "app", "b")],
    ),
    "a pure client": (
        {"service": [], "service_account": ["batch"], "namespace": "jobs"},
        [("jobs", "batch", "")],
    ),
    "a full host name, whose account is its first label": (
        {"service": ["reviews.svc.cluster.local"]},
        [("default", "reviews", "reviews.svc.cluster.local")],
    ),
    "a name of the mesh is the short one, which its registration is held against": (
        {"service": ["web.shop.mesh.internal"], "namespace": "shop"},
        [("shop", "web", "web")],
    ),
    "a pattern of names of the mesh": (
        {"service": ["pay*.default.mesh.internal"]},
        [("default", "pay*", "pay*")],
    ),
    "a pattern": ({"service": ["pay*"]}, [("default", "pay*", "pay*")]),
    "one service said twice": ({"service": ["a", "a"]}, [("default", "a", "a")]),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_what_a_token_claims(case: str) -> None:
    body, claims = CLAIMS[case]
    assert _request(**body).grant.claims == tuple(Claim(*claim) for claim in claims)


def test_everything_else_of_a_grant_is_read() -> None:
    request = _request(
        role="gateway",
        kind="envoy",
        cidr=["10.1.0.0/16", "192.0.2.7", "fd00::/8"],
        label=["version=v2", "tier=front"],
        require_mesh=True,
        uses=20,
        ttl_seconds=90,
    )
    assert request.grant.role is Role.GATEWAY
    assert request.kind is Kind.ENVOY
    assert request.grant.cidrs == ("10.1.0.0/16", "192.0.2.7/32", "fd00::/8")
    assert request.grant.labels == (("tier", "front"), ("version", "v2"))
    assert request.grant.require_mesh
    assert (request.uses, request.ttl_seconds) == (20, 90)


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "an unknown field": ({"servcie": ["a"]}, "unknown field 'servcie'; did you mean \"service\"?"),
    "neither service nor account": ({"service": []}, "a token needs a --service"),
    "a service in capitals": ({"service": ["Reviews"]}, "is no name or pattern"),
    "a name of the mesh in another namespace": (
        {"service": ["web.shop.mesh.internal"]},
        "service: 'web.shop.mesh.internal' is of namespace shop: add --namespace shop",
    ),
    "the mesh itself": ({"service": ["mesh.internal"]}, "is no name of the mesh: <service>."),
    "a name of the mesh without namespace": (
        {"service": ["web.mesh.internal"]},
        "is no name of the mesh: <service>.",
    ),
    "a name of the mesh that is too long": (
        {"service": ["a.web.default.mesh.internal"]},
        "is no name of the mesh: <service>.",
    ),
    "a service with a path": ({"service": ["../hostmesh"]}, "is no name or pattern"),
    "an empty service": ({"service": [""]}, "is no name or pattern"),
    "services that are no list": ({"service": "reviews"}, "expected a list of texts"),
    "a namespace that is a number": ({"namespace": 7}, "expected a text"),
    "a namespace with a slash": ({"namespace": "a/b"}, "is no name or pattern"),
    "a role that is none": ({"role": "gatewy"}, 'did you mean "gateway"?'),
    "a kind that is none": ({"kind": "browser"}, "unknown 'browser'"),
    "a network that is none": ({"cidr": ["10.1.0.0/33"]}, "is no network"),
    "a network with host bits": ({"cidr": ["10.1.0.4/16"]}, 'did you mean "10.1.0.0/16"?'),
    "a label without a value": ({"label": ["version"]}, "is not KEY=VALUE"),
    "a label twice": ({"label": ["a=1", "a=2"]}, "is given twice"),
    "no use": ({"uses": 0}, "expected a number from 1"),
    "half a use": ({"uses": 1.5}, "expected a whole number"),
    "uses that are true": ({"uses": True}, "expected a number"),
    "a life of nothing": ({"ttl_seconds": 0}, "expected a number"),
    "a life for ever": ({"ttl_seconds": float("inf")}, "expected a number"),
    "a life that is no number": ({"ttl_seconds": float("nan")}, "expected a number"),
    "a life in words": ({"ttl_seconds": "1h"}, "expected a number"),
    "require_mesh in words": ({"require_mesh": "yes"}, "expected true or false"),
}


@pytest.mark.parametrize("case", WRONG)
def test_no_token_is_made_of(case: str) -> None:
    body, words = WRONG[case]
    with pytest.raises(BadInput) as caught:
        _request(**body)
    assert str(caught.value).startswith("cannot create the token: ")
    assert words in str(caught.value)


def test_a_live_token_lets_a_host_in_until_its_uses_are_gone() -> None:
    record = _record(uses=2)
    assert _checked(record) == "welcome"
    record = tokens.used(record, key_sha256=KEY, host_id="1" * 32)
    assert (record.uses_left, record.state(NOW)) == (1, "valid")
    assert _checked(record, key=OTHER_KEY) == "welcome"
    record = tokens.used(record, key_sha256=OTHER_KEY, host_id="2" * 32)
    assert (record.uses_left, record.state(NOW)) == (0, "used")
    assert _checked(record, key="x" * 64) == Reason.TOKEN_USED


def test_a_key_that_joined_may_ask_again_while_the_token_lives() -> None:
    record = tokens.used(_record(), key_sha256=KEY, host_id="1" * 32)
    assert _checked(record) == "welcome"
    assert tokens.host_of_key(record, KEY) == "1" * 32
    assert _checked(record, now=NOW + 3600) == Reason.TOKEN_EXPIRED
    assert _checked(tokens.revoked(record, now=NOW)) == Reason.TOKEN_REVOKED


@pytest.mark.parametrize(
    ("seconds", "outcome"),
    [
        pytest.param(0, "welcome", id="at once"),
        pytest.param(3599.9, "welcome", id="just before its end"),
        pytest.param(3600, Reason.TOKEN_EXPIRED, id="at its end"),
        pytest.param(1e9, Reason.TOKEN_EXPIRED, id="long after its end"),
    ],
)
def test_a_token_lives_for_its_time(seconds: float, outcome: str) -> None:
    assert _checked(_record(), now=NOW + seconds) == outcome


def test_without_the_secret_nothing_is_told() -> None:
    wrong = JoinToken(TOKEN.id, "f" * 64, TOKEN.pin)
    answers = {
        tokens.check(record, wrong, key_sha256=KEY, now=NOW + 9e9)
        for record in (None, _record(), tokens.revoked(_record(), now=NOW))
    }
    (answer,) = answers
    assert isinstance(answer, Refusal)
    assert answer.reason is Reason.TOKEN_UNKNOWN
    assert TOKEN.id not in answer.text


def test_a_refusal_names_the_token_and_the_next_command() -> None:
    answer = tokens.check(_record(), TOKEN, key_sha256=KEY, now=NOW + 3700)
    assert isinstance(answer, Refusal)
    assert answer.text == (
        f"cannot enrol: token {TOKEN.id} expired 100 s ago; make another with: "
        "hostmesh token create"
    )


def test_the_first_revocation_counts() -> None:
    once = tokens.revoked(_record(), now=NOW)
    assert tokens.revoked(once, now=NOW + 5) == once
    assert once.state(NOW) == "revoked"


def test_what_is_stored_is_read_again_and_never_holds_the_secret() -> None:
    record = tokens.used(
        _record(uses=3, cidr=["10.0.0.0/8"], label=["a=b"]), key_sha256=KEY, host_id="1" * 32
    )
    assert TokenRecord.from_bytes(record.to_bytes()) == record
    assert TOKEN.secret.encode() not in record.to_bytes()
    assert TOKEN.secret not in repr(record)


@given(
    uses=st.integers(1, 5),
    asks=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 7200)), max_size=30),
)
def test_never_more_hosts_than_uses_and_none_after_the_end(
    uses: int, asks: list[tuple[str, float]]
) -> None:
    record = _record(uses=uses)
    for key, at in sorted(asks, key=lambda ask: ask[1]):
        outcome = tokens.check(record, TOKEN, key_sha256=key, now=NOW + at)
        if isinstance(outcome, Refusal):
            continue
        assert at < 3600
        if tokens.host_of_key(record, key) is None:
            record = tokens.used(record, key_sha256=key, host_id=key)
    assert len({use.host_id for use in record.enrolled}) <= uses


@pytest.mark.parametrize(
    ("grant", "words"),
    [
        pytest.param(Grant(), "nothing", id="an empty grant"),
        pytest.param(
            Grant((Claim("default", "app", "a"), Claim("default", "app", "b"))),
            "services default/a as app, default/b as app",
            id="services under an account that is not their own",
        ),
        pytest.param(
            Grant((Claim("default", "web", "web"), Claim("default", "web", "web.example"))),
            "services default/web, default/web.example",
            id="services under their own account",
        ),
        pytest.param(
            Grant((Claim("default", "api", "web"), Claim("default", "web", "web"))),
            "services default/web as api, default/web",
            id="a service under its own account and another's",
        ),
        pytest.param(
            Grant((Claim("jobs", "batch"),), cidrs=("10.0.0.0/8",)),
            "clients jobs/batch; addresses 10.0.0.0/8",
            id="a client with addresses",
        ),
    ],
)
def test_what_a_grant_covers_in_one_phrase(grant: Grant, words: str) -> None:
    assert tokens.covers(grant) == words
