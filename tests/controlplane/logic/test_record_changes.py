"""What of a service's record is said to have changed."""

from dataclasses import replace

import pytest

from hostmesh_controlplane.logic.record_changes import changes
from hostmesh_controlplane.logic.service_state import Mark, ServiceRecord
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import InboundMode, ServiceState

BEFORE = ServiceRecord(state=ServiceState.MIXED, state_set=Mark(1.0, "its birth"), weight_limit=1)
NOW = Mark(2.0, "root")


@pytest.mark.parametrize(
    ("after", "said"),
    [
        pytest.param(BEFORE, [], id="nothing"),
        pytest.param(
            replace(BEFORE, state=ServiceState.MESH, state_set=NOW),
            [("state mixed -> mesh", "root")],
            id="the state",
        ),
        pytest.param(
            replace(BEFORE, inbound=InboundMode.STRICT, inbound_set=NOW),
            [("inbound as the mesh -> strict", "root")],
            id="what its hosts accept",
        ),
        pytest.param(
            replace(BEFORE, unmeshed_cidrs=("10.0.0.0/24",), state_set=NOW),
            [("unmeshed_cidrs all -> 10.0.0.0/24", "root")],
            id="the networks it is narrowed to",
        ),
        pytest.param(
            replace(BEFORE, weight_limit=65535),
            [("weight_limit 1 -> 65535", "")],
            id="what weights count up to",
        ),
        pytest.param(
            replace(BEFORE, state_set=NOW, ended=(EndpointKey.of("10.0.0.1", 80),)),
            [],
            id="what its endpoints show anyway",
        ),
    ],
)
def test_what_has_changed(after: ServiceRecord, said: list[tuple[str, str]]) -> None:
    assert [(str(one), one.by) for one in changes(BEFORE, after)] == said
