"""/metrics of the control plane: gathered when asked for, so that nothing is counted twice."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Gauges:
    """Where the figures come from."""

    services: Callable[[], int]
    endpoints: Callable[[], Mapping[str, int]]
    """By `meshed`: yes, no."""
    plaintext: Callable[[], Mapping[str, float]]
    """By service in state mixed, 0 to 1. Only a registration makes a service mixed: whoever
    writes a catalog cannot make one of these."""
    streams: Callable[[], int]
    leases: Callable[[], int]
    leases_held: Callable[[], int]
    refusals: Callable[[], Mapping[str, int]]
    """By reason."""
    sources_healthy: Callable[[], Mapping[str, bool]]
    certificate_hours_left: Callable[[], Mapping[str, float]]
    """By host id."""


class _Collector(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        """Give every figure as it is now."""
        gauges = self._gauges
        yield _one("hostmesh_services", "Services of the merged mesh.", gauges.services())
        yield _by("hostmesh_endpoints", "Endpoints.", "meshed", gauges.endpoints())
        yield _by(
            "hostmesh_plaintext_share",
            "Part of a mixed service's requests that goes to endpoints without mesh.",
            "service",
            gauges.plaintext(),
        )
        yield _one("hostmesh_ads_streams", "Open ADS streams.", gauges.streams())
        yield _one("hostmesh_leases", "Live leases.", gauges.leases())
        yield _one("hostmesh_leases_held", "Leases that ended but are held.", gauges.leases_held())
        healthy = {source: int(ok) for source, ok in gauges.sources_healthy().items()}
        yield _by("hostmesh_source_healthy", "1 = the source answers.", "source", healthy)
        yield _by(
            "hostmesh_host_certificate_hours_left",
            "Hours until a host's certificate ends.",
            "host",
            gauges.certificate_hours_left(),
        )
        refused = CounterMetricFamily("hostmesh_refusals", "Refusals by reason.", labels=["reason"])
        for reason, count in gauges.refusals().items():
            refused.add_metric([str(reason)], count)
        yield refused


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def registry_of(gauges: Gauges) -> CollectorRegistry:
    """Make the registry that /metrics serves."""
    registry = CollectorRegistry()
    registry.register(_Collector(gauges))
    return registry
