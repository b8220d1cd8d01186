"""What the operator API answers, as plain values: rows for tables, the same for machines."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from hostmesh_controlplane.logic import plaintext, sightings
from hostmesh_controlplane.logic.plaintext import Shares
from hostmesh_controlplane.logic.service_ports import REGISTERED
from hostmesh_core.model import (
    Endpoint,
    InboundMode,
    Origin,
    Port,
    Service,
    ServiceState,
    Withheld,
)

Row = dict[str, object]

MOST_REASONS = 3
"""For endpoints withheld, in a list of all services; `service show` has each endpoint's."""


def _ports(ports: Iterable[Port]) -> list[str]:
    return [f"{port.number}/{port.protocol}" for port in ports]


def meshed_count(service: Service) -> int:
    """Give how many endpoints are reached by mutual TLS."""
    return sum(endpoint.meshed for endpoint in service.endpoints)


def service_row(service: Service, mesh_wide: InboundMode) -> Row:
    """Give one line of `hostmesh services`."""
    return {
        "host": service.host,
        "namespace": service.namespace,
        "ports": _ports(service.ports),
        "vip4": service.vip4,
        "vip6": service.vip6,
        "state": service.state.value,
        "inbound": (service.inbound or mesh_wide).value,
        "endpoints": len(service.endpoints),
        "meshed": meshed_count(service),
        **_share(plaintext.share(plaintext.shares(service))),
        "sources": list(service.sources),
        "notes": _notes(service),
    }


def _notes(service: Service) -> list[str]:
    defaulted = [port.number for port in service.ports if port.protocol_defaulted]
    notes = [
        f"port {number} is taken for tcp because nobody states its protocol: no retries, routes or "
        "request metrics; state it in agent.yaml, the ServiceEntry or Consul's meta `protocol`"
        for number in defaulted
    ]
    notes += service.conflicts
    return notes + _withheld_notes(service.withheld)


def _withheld_notes(withheld: Sequence[Withheld]) -> list[str]:
    """Say why, for each of the commonest reasons."""
    reasons = Counter(one.reason for one in withheld)
    named = reasons.most_common(MOST_REASONS)
    notes = [f"{count} endpoint(s) withheld: {reason}" for reason, count in named]
    if more := reasons.total() - sum(count for _, count in named):
        notes.append(f"{more} more withheld for other reasons: hostmesh service show")
    return notes


def service_detail(service: Service, mesh_wide: InboundMode) -> Row:
    """Give `hostmesh service show`, but for callers and what to do next (`strictness`)."""
    return service_row(service, mesh_wide) | {
        "aliases": list(service.aliases),
        "identities": [str(identity) for identity in service.identities],
        "conflicts": list(service.conflicts),
        "endpoint_rows": endpoint_rows(service),
    }


def endpoint_rows(service: Service) -> list[Row]:
    """Give the lines of `hostmesh endpoints`: what clients get, then what is withheld and why."""
    shares = plaintext.shares(service)
    rows = [_endpoint_row(service, endpoint, shares) for endpoint in service.endpoints]
    return rows + [_withheld_row(withheld) for withheld in service.withheld]


def source_text(sources: Iterable[str]) -> str:
    """Give who lists an endpoint, catalogs first: `consul+registered`."""
    catalogs = [source for source in sources if source != REGISTERED]
    return "+".join(catalogs + [s for s in sources if s == REGISTERED])


def _share(part: float | None) -> Row:
    """Give a part of a service's requests that goes out in plaintext; None = no such question."""
    if part is None:
        return {"plaintext": "", "plaintext_share": None}
    return {"plaintext": plaintext.percent(part), "plaintext_share": round(part, 6)}


def _written(origins: Sequence[tuple[str, Origin]], host_id: str = "") -> Row:
    """Give where an endpoint is written and since when it is listed; of several catalogs all."""
    each = [
        {
            "source": source,
            "origin": str(origin),
            "node": origin.node,
            "service_id": origin.service_id,
            "since": sightings.time_text(origin.since),
        }
        for source, origin in origins
    ]
    first = next(iter(origins), ("", Origin()))[1]
    texts = list(dict.fromkeys(str(one["origin"]) for one in each if one["origin"]))
    return {
        "origin": "; ".join(texts) or (f"host {host_id[:8]}…" if host_id else ""),
        "node": first.node,
        "service_id": first.service_id,
        "since": min((str(one["since"]) for one in each if one["since"]), default=""),
        "origins": each,
    }


def _endpoint_row(service: Service, endpoint: Endpoint, shares: Shares) -> Row:
    hidden = service.state is ServiceState.MESH and not endpoint.meshed
    share = shares.get((endpoint.key, endpoint.service_port))
    return {
        "service": service.host,
        "endpoint": str(endpoint.key),
        "port": endpoint.service_port,
        "health": endpoint.health.value,
        "source": source_text(endpoint.sources),
        "sources": list(endpoint.sources),
        "meshed": endpoint.meshed,
        "meshed_text": "withheld" if hidden else ("yes" if endpoint.meshed else "no"),
        "identity": str(endpoint.identity) if endpoint.identity else "",
        "weight": endpoint.weight,
        "host_id": endpoint.host_id,
        "datacenter": endpoint.datacenter,
        "held": endpoint.held,
        **_written(endpoint.origins, endpoint.host_id),
        **_share(share),
        "why": "; ".join(_why(service, endpoint, share)),
    }


def _why(service: Service, endpoint: Endpoint, share: float | None) -> list[str]:
    reasons = list(endpoint.reasons)
    if endpoint.held:
        reasons.append("held: its source lists it no more (hostmesh sources)")
    if not endpoint.meshed:
        reasons.append(_unmeshed(service, endpoint, share))
    return reasons


def _unmeshed(service: Service, endpoint: Endpoint, share: float | None) -> str:
    if service.state is ServiceState.MESH:
        return "unmeshed: no live registration, and the service requires the mesh"
    if service.state is ServiceState.PLAIN or share is None:
        return "plain: no agent registered it"
    places = "; ".join(str(origin) for _, origin in endpoint.origins)
    since = sightings.since_text(endpoint)
    listed = f", listed since {since}" if since else ""
    where = f" — {places}{listed}" if places else ""
    return f"plaintext {plaintext.percent(share)}{where}"


def _withheld_row(withheld: Withheld) -> Row:
    return {
        "endpoint": str(withheld.key),
        "port": "",
        "health": "",
        "source": withheld.source,
        "sources": [withheld.source],
        "meshed": False,
        "meshed_text": "withheld",
        "identity": "",
        "weight": "",
        **_written([(withheld.source, withheld.origin)]),
        **_share(None),
        "why": withheld.reason,
    }


def source_counts(services: Iterable[Service]) -> Mapping[str, tuple[int, int, int]]:
    """Give per source how many services and endpoints it lists, and how many are held for it."""
    counts: dict[str, tuple[int, int, int]] = {}
    for service in services:
        for source in service.sources:
            endpoints = [e for e in service.endpoints if source in e.sources]
            had = counts.get(source, (0, 0, 0))
            held = sum(endpoint.held for endpoint in endpoints)
            counts[source] = (had[0] + 1, had[1] + len(endpoints), had[2] + held)
    return counts
