"""Root's half of a reload: which ports capture.json names at which step."""

from dataclasses import replace
from pathlib import Path

import pytest

from hostmesh_agent.app.reload_rules import Rules, union
from hostmesh_agent.logic import running
from hostmesh_core.capture_plan import CapturePlan, InboundPort
from hostmesh_testing.rooted_layout import rooted_layout

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


class Noted(Rules):
    """Notes the ports of each plan; a redirector would take it in."""

    noted: tuple[list[int], ...] = ()

    def _put(self, plan: CapturePlan) -> None:
        self.noted = (*self.noted, [entry.port for entry in plan.inbound])


@pytest.mark.parametrize(
    ("served", "then", "kept", "noted"),
    [
        pytest.param([8080, 9090], [9090], [], ([8080, 9090], [9090]), id="a port moves"),
        pytest.param([], [], [8080], ([8080], [8080]), id="what is kept stays, served or not"),
        pytest.param(
            [8080, 9090], [], [], ([8080, 9090], [9090]), id="what came in with both stays in"
        ),
        pytest.param(
            [], [], [7070], ([8080], []), id="what is kept and was never led in is not led in now"
        ),
    ],
)
def test_the_rule_of_a_port_that_peers_are_sent_to_stays(
    served: list[int], then: list[int], kept: list[int], noted: tuple[list[int], ...]
) -> None:
    text = "control_planes: [cp1:15012]\nservices: [{name: web, port: 9090}]\n"
    with rooted_layout() as layout:
        Path(layout.capture_file).parent.mkdir(parents=True, exist_ok=True)
        Path(layout.capture_file).write_bytes(replace(OLD, inbound=(InboundPort(8080),)).encode())
        rules = Noted(layout, running.read(text, file="/etc/hostmesh/agent.yaml"))
    rules.both(served)
    rules.new(then, kept=kept)
    assert rules.noted == noted
