from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_core.ids import EndpointKey, SpiffeId
from hostmesh_core.model import (
    Endpoint,
    Health,
    Port,
    Protocol,
    Service,
    ServiceState,
    labels_of,
)

PLAIN = Endpoint(EndpointKey.of("10.0.0.1", 80), service_port=80, workload_port=80)
MESHED = replace(
    PLAIN,
    key=EndpointKey.of("10.0.0.2", 80),
    identity=SpiffeId.parse("spiffe://mesh.internal/ns/a/sa/b"),
)


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3)))
def test_labels_do_not_depend_on_the_order_they_were_written_in(labels: dict[str, str]) -> None:
    backwards = dict(reversed(labels.items()))
    assert labels_of(labels) == labels_of(backwards)
    assert dict(labels_of(labels)) == labels


@pytest.mark.parametrize(
    ("several", "worst"),
    [
        pytest.param((), Health.HEALTHY, id="nobody says anything"),
        pytest.param((Health.HEALTHY, Health.DEGRADED), Health.DEGRADED, id="one degraded"),
        pytest.param((Health.UNHEALTHY, Health.HEALTHY), Health.UNHEALTHY, id="one unhealthy"),
    ],
)
def test_the_worst_health_counts(several: tuple[Health, ...], worst: Health) -> None:
    assert Health.worst(*several) is worst


@pytest.mark.parametrize(
    ("state", "reachable"),
    [
        pytest.param(ServiceState.PLAIN, (PLAIN, MESHED), id="plain"),
        pytest.param(ServiceState.MIXED, (PLAIN, MESHED), id="mixed: each in its own way"),
        pytest.param(ServiceState.MESH, (MESHED,), id="mesh: the others are withheld"),
    ],
)
def test_who_is_reachable(state: ServiceState, reachable: tuple[Endpoint, ...]) -> None:
    service = Service("web.a.mesh.internal", "a", state=state, endpoints=(PLAIN, MESHED))
    assert service.reachable == reachable


def test_meshed_is_who_has_an_identity() -> None:
    assert (PLAIN.meshed, MESHED.meshed) == (False, True)


def test_ports_are_found_by_number() -> None:
    ports = (Port(80, Protocol.HTTP), Port(81))
    service = Service("web.a.mesh.internal", "a", ports=ports)
    assert service.port(81) == Port(81)
    assert service.port(82) is None


def test_https_is_opaque_here() -> None:
    http = {protocol for protocol in Protocol if protocol.is_http}
    assert http == {Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC}
