from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_core.capture_plan import CapturePlan, DnsBlock, IdentityPort, InboundPort, OnDown
from hostmesh_core.errors import BadInput

PORTS = st.integers(1, 65535)
UIDS = st.integers(1, 2**32 - 2)
PLAN = CapturePlan(proxy_uid=7, proxy_gid=8, agent_uid=9)

plans = st.builds(
    CapturePlan,
    proxy_uid=UIDS,
    proxy_gid=UIDS,
    agent_uid=UIDS,
    enabled=st.booleans(),
    inbound=st.lists(
        st.builds(InboundPort, PORTS, st.sampled_from(["", "strict"]), st.booleans()), max_size=5
    ).map(tuple),
    exclude_inbound_ports=st.lists(PORTS, max_size=5).map(tuple),
    exclude_uids=st.lists(UIDS, max_size=5).map(tuple),
    endpoint_cidrs=st.just(("10.0.0.0/8", "fd00::/8")),
    on_down_inbound=st.sampled_from(OnDown),
    on_down_outbound=st.sampled_from(OnDown),
    dns=st.sampled_from(DnsBlock),
    take_over=st.just(("reviews.service.consul",)),
    identity_ports=st.lists(st.builds(IdentityPort, UIDS, PORTS), max_size=3).map(tuple),
)


@given(plans)
def test_what_is_written_is_read(plan: CapturePlan) -> None:
    assert CapturePlan.decode(plan.encode(), where="capture.json") == plan


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('"version":1', '"version":2', id="a later version"),
        pytest.param('"proxy_uid":7', '"proxy_uid":0', id="root as the proxy"),
        pytest.param('"proxy_gid":8', '"proxy_gid":"8"', id="a gid in quotes"),
        pytest.param('"mode":"mesh"', '"mode":"all"', id="a mode that is not there"),
        pytest.param('"instance":"default"', '"instance":"../x"', id="an instance with a path"),
        pytest.param('"instance":"default"', '"instance":"A_B"', id="an instance with underscore"),
        pytest.param('"240.240.0.0/16"', '"240.240.0.1/16"', id="a range with host bits"),
        pytest.param('"240.240.0.0/16"', '"fd00::/8"', id="a range of the other family"),
        pytest.param('"mesh_domain":"mesh.internal"', '"mesh_domain":"a b"', id="no domain"),
        pytest.param('"take_over":[]', '"take_over":["x y"]', id="a name with a space"),
        pytest.param('"take_over":[]', '"take_over":["a\\n1.2.3.4 b"]', id="a name with a line"),
        pytest.param('"proof_ports":[15170,15179]', '"proof_ports":[2,1]', id="a range backwards"),
        pytest.param('"proof_ports":[15170,15179]', '"proof_ports":[1]', id="half a range"),
        pytest.param('"on_down_inbound":"open"', '"on_down_inbound":"drop"', id="no such answer"),
        pytest.param('"exclude_uids":[]', '"exclude_uids":[-1]', id="a negative uid"),
        pytest.param('"inbound":[]', '"inbound":[{"port":1}]', id="an incomplete port"),
    ],
)
def test_what_is_wrong_is_refused_by_name(old: str, new: str) -> None:
    text = PLAN.encode().decode()
    assert old in text
    with pytest.raises(BadInput, match=r"cannot read capture\.json"):
        CapturePlan.decode(text.replace(old, new).encode(), where="capture.json")


def test_equal_plans_are_equal_bytes() -> None:
    assert PLAN.encode() == replace(PLAN).encode()
