"""The sentences of what a host is not entitled to; the tables are in test_registry_grant."""

import pytest

from hostmesh_controlplane.logic import grants
from hostmesh_controlplane.logic.grants import GrantChange
from hostmesh_core.grant import Claim, Grant
from hostmesh_testing.registry_world import HOST, World, service


def test_a_refused_service_says_what_is_covered_and_which_command_allows_it() -> None:
    (refusal,) = World().decide(service(service="payments")).refused
    assert refusal.reason == (
        "payments:80 refused: the grant of host 7f3a1b2c… covers default/web as web, not service "
        "default/payments as service account default/web; allow it with: hostmesh host grant "
        f"{HOST} --add-service-as default/payments web"
    )


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(Claim("default", "web", "web"), id="a service that is not granted"),
        pytest.param(Claim("default", "*", "*"), id="an account that no exact claim names"),
    ],
)
def test_what_a_refusal_suggests_allows_that_pair_and_no_other(claim: Claim) -> None:
    world = World(grant=Grant(claims=(claim,)))
    wanted = service(service="payments", service_account="api")
    (refusal,) = world.decide(wanted).refused
    _, _, typed = refusal.reason.partition(f"hostmesh host grant {HOST} --add-service-as ")
    change = GrantChange.parse({"add_service_as": [" as ".join(typed.split())]})
    world.grant = grants.apply(world.grant, change)
    assert set(world.grant.claims) == {claim, Claim("default", "api", "payments")}
    assert world.decide(wanted).refused == ()
