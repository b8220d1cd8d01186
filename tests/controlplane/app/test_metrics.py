from dataclasses import replace

from prometheus_client import generate_latest

from hostmesh_controlplane.app.metrics import Gauges, registry_of

GAUGES = Gauges(
    services=lambda: 3,
    endpoints=lambda: {"yes": 2, "no": 1},
    plaintext=lambda: {"web.default.mesh.internal": 0.2},
    streams=lambda: 4,
    leases=lambda: 2,
    leases_held=lambda: 0,
    refusals=lambda: {"not_granted": 5, "token_used": 1},
    sources_healthy=lambda: {"files": True, "dc1": False},
    certificate_hours_left=lambda: {"7f3a": 71.5},
)


def _lines(gauges: Gauges) -> list[str]:
    text = generate_latest(registry_of(gauges)).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_every_figure_is_there_under_its_name() -> None:
    assert _lines(GAUGES) == [
        "hostmesh_services 3.0",
        'hostmesh_endpoints{meshed="yes"} 2.0',
        'hostmesh_endpoints{meshed="no"} 1.0',
        'hostmesh_plaintext_share{service="web.default.mesh.internal"} 0.2',
        "hostmesh_ads_streams 4.0",
        "hostmesh_leases 2.0",
        "hostmesh_leases_held 0.0",
        'hostmesh_source_healthy{source="files"} 1.0',
        'hostmesh_source_healthy{source="dc1"} 0.0',
        'hostmesh_host_certificate_hours_left{host="7f3a"} 71.5',
        'hostmesh_refusals_total{reason="not_granted"} 5.0',
        'hostmesh_refusals_total{reason="token_used"} 1.0',
    ]


def test_figures_are_gathered_when_they_are_asked_for() -> None:
    counted = [0]
    gauges = replace(GAUGES, services=lambda: counted[0])
    registry = registry_of(gauges)
    counted[0] = 7
    assert b"hostmesh_services 7.0" in generate_latest(registry)
