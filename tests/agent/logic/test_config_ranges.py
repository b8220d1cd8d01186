import pytest

from hostmesh_agent.logic import config_file, redirect
from hostmesh_core.errors import BadInput

HEAD = "version: 1\ncontrol_planes: [cp1:15012]\nservices: []\n"
USERS = redirect.Users(proxy_uid=7, proxy_gid=8, agent_uid=9)


def test_other_ranges_of_virtual_addresses_reach_the_plan() -> None:
    text = HEAD + "capture: {vip4_range: 198.18.0.0/16, vip6_range: 'fd00:1::/64'}\n"
    plan = redirect.plan(config_file.parse(text, file="agent.yaml"), USERS)
    assert (plan.vip4, plan.vip6) == ("198.18.0.0/16", "fd00:1::/64")


@pytest.mark.parametrize(
    ("capture", "said"),
    [
        pytest.param("vip4_range: 10.0.0.0/33", "does not appear to be", id="no network"),
        pytest.param("vip6_range: 10.0.0.0/16", "expected an IPv6 network", id="other family"),
        pytest.param("vip4_range: 10.0.0.0/8", "/12 or narrower", id="somebody's real addresses"),
        pytest.param("vip6_range: '::/0'", "/48 or narrower", id="everything"),
        pytest.param("vip4_rang: 198.18.0.0/16", 'did you mean "vip4_range"', id="a typing error"),
    ],
)
def test_ranges_that_cannot_hold(capture: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        config_file.parse(HEAD + "capture: {" + capture + "}\n", file="agent.yaml")
    assert "agent.yaml:4" in str(caught.value)
