"""The sentences of what a host is not entitled to; the tables are in test_registry_grant."""

from hostmesh_testing.registry_world import HOST, World, service


def test_a_refused_service_says_what_is_covered_and_which_command_allows_it() -> None:
    (refusal,) = World().decide(service(service="payments")).refused
    assert refusal.reason == (
        "payments:80 refused: the grant of host 7f3a1b2c… covers default/web as web, not service "
        "default/payments as service account default/web; allow it with: hostmesh host grant "
        f"{HOST} --add-service default/payments --add-service-account default/web"
    )
