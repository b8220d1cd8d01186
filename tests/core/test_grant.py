import json

import pytest

from hostmesh_core.grant import Claim, Grant, Role
from hostmesh_core.ids import Identity

WEB = Identity("shop", "web")
GRANT = Grant(
    claims=(Claim("shop", "web", "web"), Claim("shop", "pay-*", "pay*"), Claim("ops", "client")),
    cidrs=("10.1.0.0/16", "fd00:1::/32"),
    labels=(("zone", "a"),),
    role=Role.GATEWAY,
    require_mesh=True,
)


@pytest.mark.parametrize(
    ("identity", "allowed"),
    [
        pytest.param(WEB, True, id="named"),
        pytest.param(Identity("shop", "pay-eu"), True, id="by a pattern"),
        pytest.param(Identity("ops", "client"), True, id="a pure client's"),
        pytest.param(Identity("shop", "pay"), False, id="the pattern needs its hyphen"),
        pytest.param(Identity("prod", "web"), False, id="another namespace"),
        pytest.param(Identity("shop", "WEB"), False, id="capitals are others"),
    ],
)
def test_identities(identity: Identity, *, allowed: bool) -> None:
    assert GRANT.allows_identity(identity) is allowed


@pytest.mark.parametrize(
    ("identity", "service", "allowed"),
    [
        pytest.param(WEB, "web", True, id="named"),
        pytest.param(Identity("shop", "pay-eu"), "payments", True, id="by patterns"),
        pytest.param(WEB, "payments", False, id="another claim's service"),
        pytest.param(Identity("shop", "pay-eu"), "web", False, id="another claim's identity"),
        pytest.param(Identity("ops", "client"), "", False, id="a pure client registers nothing"),
        pytest.param(Identity("ops", "client"), "web", False, id="nor under a name"),
    ],
)
def test_services(identity: Identity, service: str, *, allowed: bool) -> None:
    assert GRANT.allows_service(identity, service) is allowed


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.255.255", True),
        ("10.2.0.0", False),
        ("fd00:1::5", True),
        ("fd00:2::5", False),
        ("::ffff:10.1.0.1", False),
    ],
)
def test_addresses(address: str, *, allowed: bool) -> None:
    assert GRANT.allows_address(address) is allowed


@pytest.mark.parametrize(
    ("claims", "identity"),
    [
        pytest.param((Claim("shop", "web", "web"),), WEB, id="one"),
        pytest.param((Claim("shop", "web", "a"), Claim("shop", "web", "b")), WEB, id="one, twice"),
        pytest.param((Claim("shop", "web"), Claim("shop", "api")), None, id="two"),
        pytest.param((Claim("shop", "w*"),), None, id="a pattern alone"),
        pytest.param((Claim("shop", "web"), Claim("shop", "w*")), WEB, id="one beside a pattern"),
        pytest.param((), None, id="none"),
    ],
)
def test_the_default_identity(claims: tuple[Claim, ...], identity: Identity | None) -> None:
    assert Grant(claims=claims).default_identity() == identity


@pytest.mark.parametrize("grant", [GRANT, Grant()])
def test_reads_back_what_it_stores(grant: Grant) -> None:
    assert Grant.from_json(json.loads(json.dumps(grant.to_json()))) == grant


def test_a_damaged_record_is_a_bug_and_says_so() -> None:
    with pytest.raises(RuntimeError, match="stored grant is damaged"):
        Grant.from_json({**Grant().to_json(), "claims": "all"})
