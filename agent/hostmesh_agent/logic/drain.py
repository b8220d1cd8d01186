"""When a draining Envoy has nothing left that ending it would cut. Pure.

In a drain Envoy asks the caller of each request to close its connection; what then is still open
and unused is a client's idle one, which any server may close. A TCP connection is never idle: what
it carries is not known.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hostmesh_agent.config import PortsConfig

PATTERN = (
    r"^(listener\..*\.downstream_cx_active|http\..*\.downstream_(cx_active|rq_active|rq_total))$"
)
"""The counters and gauges that `traffic` reads: a zero is in them, an absent one is no zero."""
QUIET_SECONDS = 2.0
"""No request for so long, and none under way: all that are in use have been told to close."""
_LISTENER = re.compile(r"^listener\.(.+)\.downstream_cx_active$")
_HTTP = re.compile(r"^http\.(.+)\.downstream_(cx_active|rq_active|rq_total)$")
_OWN_HTTP = frozenset({"admin", "readiness", "prometheus"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the mesh's listeners carry: not admin's, readiness' and Prometheus'."""

    tcp: int = 0
    """Connections that are not HTTP."""
    idle: int = 0
    """HTTP connections without a request under way."""
    requests: int = 0
    """Under way; a WebSocket is one."""
    begun: int = 0
    """Requests since Envoy's start."""

    @property
    def none(self) -> bool:
        """Whether no connection is left."""
        return not (self.tcp or self.idle or self.requests)


@dataclass(frozen=True, slots=True)
class Quiet:
    """Since when nothing has come."""

    since: float
    begun: int = -1

    def after(self, seen: Traffic, now: float) -> "Quiet":
        """Take a look in; anything in use or begun since the last one starts the count anew."""
        if seen.tcp or seen.requests or seen.begun != self.begun:
            return Quiet(now, seen.begun)
        return self

    def over(self, seen: Traffic, now: float) -> bool:
        """Tell whether Envoy may end."""
        return seen.none or now - self.since >= QUIET_SECONDS


def traffic(stats: Mapping[str, int], ports: PortsConfig) -> Traffic:
    """Read Envoy's counters and gauges."""
    own = tuple(f"_{port}" for port in (ports.readiness, ports.prometheus))
    connections = sum(
        value
        for name, value in stats.items()
        if (found := _LISTENER.match(name)) and not _is_own(found[1], own)
    )
    http = {"cx_active": 0, "rq_active": 0, "rq_total": 0}
    for name, value in stats.items():
        found = _HTTP.match(name)
        if found and found[1] not in _OWN_HTTP:
            http[found[2]] += value
    return Traffic(
        tcp=max(0, connections - http["cx_active"]),
        idle=max(0, http["cx_active"] - http["rq_active"]),
        requests=http["rq_active"],
        begun=http["rq_total"],
    )


def _is_own(listener: str, own: tuple[str, ...]) -> bool:
    # A worker's number is part of its listener's.
    return listener.startswith("admin") or ".worker_" in listener or listener.endswith(own)
