import pytest

from hostmesh_controlplane.logic import scopes
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import Identity

WEB, JOBS = Identity("default", "web"), Identity("batch", "jobs")
ONE = Grant((Claim("default", "web", "web"),))
TWO = Grant((Claim("default", "web", "web"), Claim("batch", "jobs")))
ANY = Grant((Claim("default", "*", "web"),))


@pytest.mark.parametrize(
    ("declared", "grant", "expected"),
    [
        pytest.param([], ONE, ((15001, WEB),), id="the only identity speaks for all"),
        pytest.param([], TWO, (), id="of several none does until one is named"),
        pytest.param([], ANY, (), id="a pattern names nobody"),
        pytest.param([(15001, JOBS)], TWO, ((15001, JOBS),), id="the one that is named"),
        pytest.param(
            [(15101, JOBS), (15001, WEB)], TWO, ((15001, WEB), (15101, JOBS)), id="one per port"
        ),
        pytest.param([(15001, JOBS)], ONE, ((15001, WEB),), id="never one beyond the grant"),
        pytest.param([(8080, WEB)], TWO, (), id="never a port beyond the pool"),
    ],
)
def test_outbound(
    declared: list[tuple[int, Identity]], grant: Grant, expected: scopes.Outbound
) -> None:
    assert scopes.outbound_of(declared, grant) == expected


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        pytest.param([], ((16001, WEB),), id="none stated: the only identity, on its port"),
        pytest.param([(16001, WEB)], ((16001, WEB),), id="its own port"),
        pytest.param([(15101, WEB)], ((16001, WEB),), id="the pool is the default instance's"),
    ],
)
def test_outbound_of_another_instance(
    declared: list[tuple[int, Identity]], expected: scopes.Outbound
) -> None:
    assert scopes.outbound_of(declared, ONE, port=16001) == expected
    scope = scopes.scope_of(ONE, expected, trust_domain="mesh.internal", port=16001)
    assert scope.outbound_port == 16001


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        pytest.param(ONE, "default", id="one namespace"),
        pytest.param(TWO, "", id="two: short names resolve nowhere"),
        pytest.param(Grant((Claim("*", "web"),)), "", id="a pattern is no namespace"),
        pytest.param(Grant(), "", id="an empty grant"),
    ],
)
def test_namespace(grant: Grant, expected: str) -> None:
    scope = scopes.scope_of(grant, (), trust_domain="mesh.internal")
    assert (scope.namespace, scope.trust_domain) == (expected, "mesh.internal")
