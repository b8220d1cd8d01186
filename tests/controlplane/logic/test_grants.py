"""`hostmesh host grant`: what each change leaves, as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_controlplane.logic import grants
from hostmesh_controlplane.logic.grants import GrantChange
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import Identity

Rows = list[tuple[str, str, str]]

CHANGES: dict[str, tuple[Rows, dict[str, list[str]], Rows]] = {
    "a further service runs under the account that is there": (
        [("default", "web", "web")],
        {"add_service": ["api"]},
        [("default", "web", "api"), ("default", "web", "web")],
    ),
    "a first service of a client runs under its account": (
        [("default", "batch", "")],
        {"add_service": ["web"]},
        [("default", "batch", "web")],
    ),
    "a service in a new namespace brings its own account": (
        [("default", "web", "web")],
        {"add_service": ["shop/api"]},
        [("default", "web", "web"), ("shop", "api", "api")],
    ),
    "a service for nobody yet": ([], {"add_service": ["web"]}, [("default", "web", "web")]),
    "a further account may register the same services": (
        [("default", "web", "web")],
        {"add_service_account": ["web2"]},
        [("default", "web", "web"), ("default", "web2", "web")],
    ),
    "a further account of a client is a client": (
        [("default", "batch", "")],
        {"add_service_account": ["cron"]},
        [("default", "batch", ""), ("default", "cron", "")],
    ),
    "an account in another namespace is a client there": (
        [("default", "web", "web")],
        {"add_service_account": ["jobs/cron"]},
        [("default", "web", "web"), ("jobs", "cron", "")],
    ),
    "an account and a service at once": (
        [("default", "web", "web")],
        {"add_service_account": ["app"], "add_service": ["api"]},
        [
            ("default", "app", "api"),
            ("default", "app", "web"),
            ("default", "web", "api"),
            ("default", "web", "web"),
        ],
    ),
    "a removed service leaves its account as a client": (
        [("default", "web", "web")],
        {"remove_service": ["web"]},
        [("default", "web", "")],
    ),
    "one of two services": (
        [("default", "app", "a"), ("default", "app", "b")],
        {"remove_service": ["a"]},
        [("default", "app", "b")],
    ),
    "a removed account takes its services along": (
        [("default", "a", "a"), ("default", "b", "b")],
        {"remove_service_account": ["a"]},
        [("default", "b", "b")],
    ),
    "one service for another": (
        [("default", "web", "old")],
        {"remove_service": ["old"], "add_service": ["new"]},
        [("default", "web", "new")],
    ),
    "one service under one account, and no other pair": (
        [("default", "web", "web")],
        {"add_service_as": ["default/api as api"]},
        [("default", "api", "api"), ("default", "web", "web")],
    ),
    "a client's own account gets its first service": (
        [("default", "batch", ""), ("default", "cron", "")],
        {"add_service_as": ["web as batch"]},
        [("default", "batch", "web"), ("default", "cron", "")],
    ),
    "one pair is taken away": (
        [("default", "a", "x"), ("default", "a", "y"), ("default", "b", "x")],
        {"remove_service_as": ["x as a"]},
        [("default", "a", "y"), ("default", "b", "x")],
    ),
    "an account's last pair leaves it as a client": (
        [("default", "a", "x"), ("default", "b", "x")],
        {"remove_service_as": ["default/x as a"]},
        [("default", "a", ""), ("default", "b", "x")],
    ),
    "one pair for another": (
        [("default", "web", "web")],
        {"remove_service_as": ["web as web"], "add_service_as": ["web as front"]},
        [("default", "front", "web"), ("default", "web", "")],
    ),
    "an account to speak as registers nothing": (
        [("default", "web", "web")],
        {"add_client": ["default/payments"]},
        [("default", "payments", ""), ("default", "web", "web")],
    ),
    "an account to speak as that is there": (
        [("default", "web", "web")],
        {"add_client": ["web"]},
        [("default", "web", "web")],
    ),
    "what is there already": (
        [("default", "web", "web")],
        {"add_service": ["web"], "add_service_account": ["web"]},
        [("default", "web", "web")],
    ),
}


def _grant(rows: Rows) -> Grant:
    return Grant(claims=tuple(Claim(*row) for row in rows))


@pytest.mark.parametrize("case", CHANGES)
def test_what_a_change_leaves(case: str) -> None:
    before, change, after = CHANGES[case]
    assert grants.apply(_grant(before), GrantChange.parse(change)) == _grant(after)


def test_networks_are_added_and_removed() -> None:
    grant = Grant(cidrs=("10.1.0.0/16",))
    grant = grants.apply(grant, GrantChange.parse({"add_cidr": ["10.2.0.0/16", "10.1.0.0/16"]}))
    assert grant.cidrs == ("10.1.0.0/16", "10.2.0.0/16")
    grant = grants.apply(grant, GrantChange.parse({"remove_cidr": ["10.1.0.0/16"]}))
    assert grant.cidrs == ("10.2.0.0/16",)


def test_nothing_else_of_a_grant_changes() -> None:
    grant = Grant((Claim("default", "web", "web"),), labels=(("a", "b"),), require_mesh=True)
    after = grants.apply(grant, GrantChange.parse({"add_service": ["api"]}))
    assert (after.labels, after.role, after.require_mesh) == (grant.labels, grant.role, True)


WRONG: dict[str, tuple[Rows, dict[str, object], str]] = {
    "no change": ([], {}, "no change was asked for"),
    "an unknown field": ([], {"add_services": ["a"]}, 'did you mean "add_service"?'),
    "a service that is not there": (
        [("default", "web", "web")],
        {"remove_service": ["wbe"]},
        "cannot remove default/wbe: the grant covers services default/web",
    ),
    "a pair that is not there": (
        [("default", "web", "web"), ("default", "api", "api")],
        {"remove_service_as": ["web as api"]},
        "cannot remove default/web as api: the grant covers services default/web, default/api",
    ),
    "a pair without an account": (
        [],
        {"add_service_as": ["web"]},
        "expected SERVICE as ACCOUNT, not 'web'",
    ),
    "a pair with a name that is none": (
        [],
        {"add_service_as": ["web as We b"]},
        "is no name or pattern",
    ),
    "an account that is not there": (
        [("default", "web", "web")],
        {"remove_service_account": ["api"]},
        "cannot remove default/api",
    ),
    "a network that is not there": ([], {"remove_cidr": ["10.0.0.0/8"]}, "the grant has none"),
    "a name in one of several namespaces": (
        [("a", "web", "web"), ("b", "web", "web")],
        {"add_service": ["api"]},
        "any of the namespaces a, b; write NAMESPACE/api",
    ),
    "a name with capitals": ([], {"add_service": ["Web"]}, "is no name or pattern"),
    "an empty name": ([], {"add_service": ["default/"]}, "is no name or pattern"),
    "a namespace with a slash": ([], {"add_service": ["a/b/c"]}, "is no name or pattern"),
    "a network with host bits": ([], {"add_cidr": ["10.1.0.4/16"]}, 'did you mean "10.1.0.0/16"?'),
    "a text in place of a list": ([], {"add_service": "web"}, "expected a list of texts"),
}


@pytest.mark.parametrize("case", WRONG)
def test_no_change_is_made_by(case: str) -> None:
    before, change, words = WRONG[case]
    with pytest.raises(BadInput, match=r"^cannot ") as caught:
        grants.apply(_grant(before), GrantChange.parse(change))
    assert words in str(caught.value)


def test_what_a_refusal_suggests_gives_one_pair_and_no_other() -> None:
    grant = Grant((Claim("default", "web", "web"),))
    after = grants.apply(grant, GrantChange.parse({"add_service_as": ["default/api as api"]}))
    web, api = Identity("default", "web"), Identity("default", "api")
    assert after.allows_service(api, "api")
    assert not after.allows_service(web, "api")
    assert not after.allows_service(api, "web")


names = st.sampled_from(["a", "b", "c"])
claims = st.builds(Claim, st.just("default"), names, st.one_of(st.just(""), names))


@given(before=st.lists(claims, max_size=5), service=names)
def test_a_service_that_is_added_may_be_registered_and_one_removed_may_not(
    before: list[Claim], service: str
) -> None:
    grant = Grant(tuple(before))
    added = grants.apply(grant, GrantChange.parse({"add_service": [service]}))
    accounts = {claim.service_account for claim in added.claims}
    assert any(added.allows_service(Identity("default", a), service) for a in accounts)
    removed = grants.apply(added, GrantChange.parse({"remove_service": [service]}))
    assert not any(removed.allows_service(Identity("default", a), service) for a in accounts)
    for account in accounts:  # nobody lost a certificate by it
        assert removed.allows_identity(Identity("default", account))


@given(before=st.lists(claims, max_size=5), account=names)
def test_an_account_that_is_removed_gets_no_certificate(before: list[Claim], account: str) -> None:
    grant = Grant(tuple(before))
    added = grants.apply(grant, GrantChange.parse({"add_service_account": [account]}))
    assert added.allows_identity(Identity("default", account))
    removed = grants.apply(added, GrantChange.parse({"remove_service_account": [account]}))
    assert not removed.allows_identity(Identity("default", account))
