from dataclasses import replace

import pytest

from hostmesh_controlplane.logic.newcomers import BURST, MORE, REFILL_SECONDS, Newcomers
from hostmesh_core.ids import EndpointKey, SpiffeId
from hostmesh_core.model import Endpoint, MeshChange, Origin, Service, ServiceState

WEB = SpiffeId.parse("spiffe://mesh.internal/ns/default/sa/web")
MESHED = Endpoint(EndpointKey.of("10.0.0.1", 80), 80, 80, identity=WEB)
MIXED = Service("web.example", "default", state=ServiceState.MIXED, endpoints=(MESHED,))


def rogue(number: int) -> Endpoint:
    origin = Origin(node="evil", service_id=f"x{number}", since=60.0)
    key = EndpointKey.of(f"10.1.{number // 250}.{number % 250}", 80)
    return Endpoint(key, 80, 80, sources=("dc1",), origins=(("dc1", origin),))


def added(*endpoints: Endpoint, to: Service | None = MIXED) -> MeshChange:
    base = to or MIXED
    return MeshChange(base.host, to, replace(base, endpoints=(*base.endpoints, *endpoints)))


def test_a_new_one_is_told_with_node_id_time_and_share() -> None:
    _, lines = Newcomers().told([added(rogue(1))], now=0.0)
    assert lines == (
        "unmeshed endpoint joins a mixed service service=web.example endpoint=10.1.0.1:80 "
        "origin=dc1: node evil (x1) since=1970-01-01 00:01:00Z plaintext=50 %",
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(added(rogue(1), to=None), id="a service that is new itself, as at the start"),
        pytest.param(
            added(rogue(1), to=replace(MIXED, state=ServiceState.PLAIN)), id="a plain service"
        ),
        pytest.param(
            added(rogue(1), to=replace(MIXED, state=ServiceState.MESH)), id="in mesh it is withheld"
        ),
        pytest.param(
            MeshChange(MIXED.host, replace(MIXED, state=ServiceState.PLAIN), MIXED),
            id="what was there when it became mixed",
        ),
        pytest.param(MeshChange(MIXED.host, MIXED, None), id="a service that is gone"),
        pytest.param(
            MeshChange(MIXED.host, MIXED, replace(MIXED, endpoints=(replace(MESHED, weight=2),))),
            id="one that was there",
        ),
        pytest.param(
            MeshChange(
                MIXED.host, MIXED, replace(MIXED, endpoints=(replace(MESHED, identity=None),))
            ),
            id="one that left the mesh in order",
        ),
        pytest.param(
            added(replace(MESHED, key=EndpointKey.of("10.0.0.9", 80))), id="one that is meshed"
        ),
    ],
)
def test_what_is_no_news(change: MeshChange) -> None:
    assert Newcomers().told([change], now=0.0)[1] == ()


def test_a_flood_is_told_in_a_few_lines_and_the_next_one_after_it_again() -> None:
    flood = added(*(rogue(number) for number in range(1000)))
    state, lines = Newcomers().told([flood], now=0.0)
    assert len(lines) == BURST + 1
    assert lines[-1] == MORE
    state, lines = state.told([added(rogue(1))], now=0.1)
    assert lines == ()
    _, lines = state.told([added(rogue(1))], now=REFILL_SECONDS + 0.2)
    assert len(lines) == 1
