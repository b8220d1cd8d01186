"""Since when each endpoint has been listed where it is: between a source and the merge.

An endpoint keeps its time while the same node and id list it, also while it is held and over a
restart (the time is stored with the view). One that went and came back is new, and so is one that
another node lists now: whose word it is matters more than what it says.
"""

from dataclasses import replace
from datetime import UTC, datetime

from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Endpoint, Health


def seen(before: CatalogService | None, after: CatalogService, *, now: float) -> CatalogService:
    """Give `after` with the times of what `before` listed already. `now` is the wall clock."""
    known = {endpoint.key: endpoint for endpoint in before.endpoints} if before else {}
    endpoints = tuple(_seen(known, endpoint, now) for endpoint in after.endpoints)
    return replace(after, endpoints=endpoints)


def _seen(
    known: dict[EndpointKey, CatalogEndpoint], endpoint: CatalogEndpoint, now: float
) -> CatalogEndpoint:
    before = known.get(endpoint.key)
    origin = endpoint.origin
    writer = (origin.node, origin.service_id)
    same = before is not None and (before.origin.node, before.origin.service_id) == writer
    since = before.origin.since if same and before else 0.0
    well = endpoint.health is Health.HEALTHY
    unwell_since = 0.0 if well else (before.unwell_since if before else 0.0) or now
    return replace(endpoint, origin=replace(origin, since=since or now), unwell_since=unwell_since)


def since(endpoint: Endpoint) -> float:
    """Give since when any catalog has listed it, wall clock; 0 = none does."""
    return min((origin.since for _, origin in endpoint.origins if origin.since), default=0.0)


def since_text(endpoint: Endpoint) -> str:
    """Give that time for people; empty where it is not known."""
    return time_text(since(endpoint))


def time_text(at: float) -> str:
    """Give a wall-clock time for people; empty for 0."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at else ""
