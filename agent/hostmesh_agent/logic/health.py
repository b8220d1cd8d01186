"""Whether an app is well, from single checks: thresholds, pace, and where to ask.

The first result counts at once, because a service starts out unhealthy and somebody waits for it.
After that a change needs `unhealthy_after` or `healthy_after` results in a row.
"""

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from hostmesh_agent.config import HealthCheck, ServiceConfig

JITTER = 0.2
"""Share of the interval by which checks wander, so that those of many hosts never march in step."""
DOUBT_SHARE = 0.25
"""While results disagree with the state, the next check comes after this share of the interval."""
DOUBT_SECONDS = 0.25
"""But not sooner: an app in trouble must not be beaten."""


@dataclass(frozen=True, slots=True)
class AppHealth:
    """One app as its checks show it."""

    healthy: bool | None = None
    """None before the first result."""
    against: int = 0
    """Results in a row that say otherwise."""
    reason: str = ""
    """Why it is unhealthy, in the words of the last failure; empty when healthy."""


def observe(state: AppHealth, failure: str, check: HealthCheck) -> AppHealth:
    """Take in one result: the failure's sentence, empty = well. Give the next state."""
    well = not failure
    if state.healthy is None:
        return AppHealth(well, 0, failure)
    if well == state.healthy:
        return replace(state, against=0, reason=failure)
    against = state.against + 1
    needed = check.healthy_after if well else check.unhealthy_after
    if against >= needed:
        return AppHealth(well, 0, failure)
    return replace(state, against=against)


def next_check(state: AppHealth, check: HealthCheck, jitter: float) -> float:
    """Give the seconds to the next check; `jitter` is in 0..1.

    Doubt is settled quickly: two failures in a row are to be known well before two intervals.
    """
    seconds = check.interval_seconds
    if state.against:
        seconds = min(seconds, max(DOUBT_SECONDS, seconds * DOUBT_SHARE))
    return seconds * (1 - JITTER / 2 + JITTER * jitter)


def where(
    service: ServiceConfig, registered: Iterable[str], own: Collection[str]
) -> tuple[str, int]:
    """Give the address and port to ask, the ones that Envoy hands requests to.

    `registered` are the addresses that peers dial; only one of this host's `own` can be asked: the
    source is a loopback address, which reaches nothing else (an address behind NAT is EINVAL).
    """
    if service.listen:
        host, _, port = service.listen.rpartition(":")
        return host.strip("[]"), int(port)
    if not service.mesh_port:
        for address in registered:
            if address in own:
                return address, service.port
    return "127.0.0.1", service.port


def source(address: str) -> str:
    """Give the source address that keeps a check out of the capture rules (host-agent rule 9)."""
    return "::6" if ipaddress.ip_address(address).version == 6 else "127.0.0.6"
