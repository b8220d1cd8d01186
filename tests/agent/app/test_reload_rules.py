"""Root's half of a reload: which ports capture.json names at which step."""

from dataclasses import replace

import pytest

from hostmesh_agent.app.reload_rules import union
from hostmesh_core.capture_plan import CapturePlan, InboundPort

OLD = CapturePlan(
    proxy_uid=7, proxy_gid=7, agent_uid=8, inbound=(InboundPort(8080), InboundPort(9071))
)
NEW = replace(OLD, exclude_uids=(5,), inbound=(InboundPort(9071, "strict"), InboundPort(9090)))


@pytest.mark.parametrize(
    ("served", "keep", "ports"),
    [
        pytest.param([8080, 9071, 9090], [8080, 9071], [8080, 9071, 9090], id="old and new"),
        pytest.param(
            [8080, 9071],
            [8080, 9071],
            [8080, 9071],
            id="one that Envoy does not serve never comes in",
        ),
        pytest.param([9071, 9090], [9071, 9090], [9071, 9090], id="then the new alone"),
        pytest.param([8080, 9071], [8080, 9071], [8080, 9071], id="an old one that is kept stays"),
        pytest.param([], [], [9071], id="one that was led in and is refused now stays led in"),
    ],
)
def test_a_port_is_led_in_while_envoy_serves_it(
    served: list[int], keep: list[int], ports: list[int]
) -> None:
    plan = union(OLD, NEW, served=served, keep=keep)
    assert [entry.port for entry in plan.inbound] == ports
    assert plan.exclude_uids == (5,)
    assert InboundPort(9071, "strict") in plan.inbound, "where both name a port the new word counts"
