import pytest

from hostmesh_agent.config import Address, AgentConfig, OutboundConfig, ServiceConfig
from hostmesh_agent.logic import workloads
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import Identity

WEB, JOBS = Identity("default", "web"), Identity("batch", "jobs")
ONE = Grant((Claim("default", "web", "web"),))
TWO = Grant((Claim("default", "web", "web"), Claim("batch", "jobs")))
CP = (Address(host="cp1", port=15012),)


@pytest.mark.parametrize(
    ("service", "grant", "expected"),
    [
        pytest.param(ServiceConfig(name="web", port=80), ONE, WEB, id="the grant's only one"),
        pytest.param(
            ServiceConfig(name="api.example.org", port=80),
            ONE,
            WEB,
            id="whatever the service is called",
        ),
        pytest.param(
            ServiceConfig(name="jobs", port=80, namespace="batch", service_account="jobs"),
            TWO,
            JOBS,
            id="the one that is stated",
        ),
        pytest.param(
            ServiceConfig(name="web", port=80), TWO, WEB, id="of several: the service's own name"
        ),
        pytest.param(
            ServiceConfig(name="shop", port=80, namespace="shops"),
            ONE,
            Identity("shops", "shop"),
            id="in another namespace the default is a stranger",
        ),
    ],
)
def test_identity_of(service: ServiceConfig, grant: Grant, expected: Identity) -> None:
    assert workloads.identity_of(service, grant) == expected


@pytest.mark.parametrize(
    ("config", "grant", "expected"),
    [
        pytest.param(AgentConfig(control_planes=CP), ONE, (WEB,), id="a client: the grant's"),
        pytest.param(AgentConfig(control_planes=CP), TWO, (), id="a client that nobody named"),
        pytest.param(
            AgentConfig(control_planes=CP, outbound=OutboundConfig(default_identity=JOBS)),
            TWO,
            (JOBS,),
            id="a client that was named",
        ),
        pytest.param(
            AgentConfig(
                control_planes=CP,
                services=(ServiceConfig(name="web", port=80),),
                outbound=OutboundConfig(default_identity=JOBS),
            ),
            TWO,
            (JOBS, WEB),
            id="served and spoken as",
        ),
    ],
)
def test_wanted(config: AgentConfig, grant: Grant, expected: tuple[Identity, ...]) -> None:
    assert workloads.wanted(config, grant) == expected
