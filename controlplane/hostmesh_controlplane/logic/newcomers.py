"""Unmeshed endpoints that appear in a mixed service: each is told once, and a flood is not a log.

Whoever can write a catalog can add one, and it gets its share of the requests in plaintext. What
was there when the service became mixed is no news.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from hostmesh_controlplane.logic import plaintext, sightings
from hostmesh_core.model import Endpoint, MeshChange, Service, ServiceState

BURST = 20
REFILL_SECONDS = 6.0
"""Twenty lines at once, ten a minute after that."""

MORE = (
    "unmeshed endpoints join mixed services faster than they are logged; all of them: "
    "hostmesh services, hostmesh endpoints SERVICE"
)


@dataclass(frozen=True, slots=True)
class Newcomers:
    """How many lines may still be written. Times are monotonic, in seconds."""

    left: float = BURST
    at: float = 0.0
    silent: bool = False

    def told(
        self, changes: Iterable[MeshChange], *, now: float
    ) -> tuple["Newcomers", tuple[str, ...]]:
        """Take in changes of the mesh; give the lines to log."""
        left = min(float(BURST), self.left + max(0.0, now - self.at) / REFILL_SECONDS)
        silent, lines = self.silent, list[str]()
        for service, endpoint in (found for change in changes for found in _new(change)):
            if left >= 1:
                left, silent = left - 1, False
                lines.append(_line(service, endpoint))
            elif not silent:
                silent = True
                lines.append(MORE)
        return replace(self, left=left, at=now, silent=silent), tuple(lines)


def _new(change: MeshChange) -> Iterator[tuple[Service, Endpoint]]:
    before, after = change.before, change.after
    if before is None or after is None or after.state is not ServiceState.MIXED:
        return
    if before.state is not ServiceState.MIXED or before.endpoints == after.endpoints:
        return
    known = {endpoint.key for endpoint in before.endpoints}
    for endpoint in after.endpoints:
        if not endpoint.meshed and endpoint.key not in known:
            yield after, endpoint


def _line(service: Service, endpoint: Endpoint) -> str:
    said = "; ".join(f"{source}: {origin}" for source, origin in endpoint.origins)
    share = plaintext.shares(service).get((endpoint.key, endpoint.service_port), 0.0)
    return (
        f"unmeshed endpoint joins a mixed service service={service.host} endpoint={endpoint.key} "
        f"origin={said or '+'.join(endpoint.sources)} since={sightings.since_text(endpoint)} "
        f"plaintext={plaintext.percent(share)}"
    )
