"""Which part of a service's requests goes out in plaintext, as clients are sent it.

Clients balance over all endpoints of a port that are reachable and not unhealthy, by weight alone:
localities carry no weight (`render.endpoints`). What one of them cannot reach, for its network or
its address family, is left out of its own sum and not of this one.
"""

from collections.abc import Mapping

from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Health, Service

Shares = Mapping[tuple[EndpointKey, int], float]
"""By key and service port, 0 to 1, of each unmeshed endpoint that gets requests."""


def shares(service: Service) -> Shares:
    """Give each unmeshed endpoint's part of its port's requests."""
    used = [e for e in service.reachable if e.health is not Health.UNHEALTHY]
    totals: dict[int, int] = {}
    for endpoint in used:
        totals[endpoint.service_port] = totals.get(endpoint.service_port, 0) + endpoint.weight
    return {
        (e.key, e.service_port): e.weight / totals[e.service_port] for e in used if not e.meshed
    }


def share(of: Shares) -> float:
    """Give the sum over all unmeshed endpoints; of several ports that of the worst one."""
    by_port: dict[int, float] = {}
    for (_, port), part in of.items():
        by_port[port] = by_port.get(port, 0.0) + part
    return min(1.0, max(by_port.values(), default=0.0))


def percent(part: float) -> str:
    """Give it as people read it. What is there is never shown as nothing, nor as all of it."""
    if 0 < part < 0.01:
        return "<1 %"
    if 0.99 < part < 1:
        return ">99 %"
    return f"{part * 100:.0f} %"
