"""What the operator API answers, as plain values: rows for tables, the same for machines."""

from collections.abc import Iterable, Mapping

from hostmesh_controlplane.logic.service_ports import REGISTERED
from hostmesh_core.model import Endpoint, InboundMode, Port, Service, ServiceState, Withheld

Row = dict[str, object]


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
    if service.withheld:
        notes.append(f"{len(service.withheld)} endpoint(s) withheld: hostmesh service show")
    return notes


def service_detail(service: Service, mesh_wide: InboundMode) -> Row:
    """Give `hostmesh service show`."""
    return service_row(service, mesh_wide) | {
        "aliases": list(service.aliases),
        "identities": [str(identity) for identity in service.identities],
        "conflicts": list(service.conflicts),
        "endpoint_rows": endpoint_rows(service),
        "next": _next(service),
    }


def _next(service: Service) -> str:
    unmeshed = len(service.endpoints) - meshed_count(service)
    match service.state:
        case ServiceState.PLAIN:
            return f"hostmesh token create --service {service.short_name or service.host}"
        case ServiceState.MIXED if unmeshed:
            return f"join the other {unmeshed}: hostmesh token create --service {service.host}"
        case ServiceState.MIXED:
            return f"hostmesh service require-mesh {service.host}"
        case ServiceState.MESH:
            return f"hostmesh endpoints {service.host}"


def endpoint_rows(service: Service) -> list[Row]:
    """Give the lines of `hostmesh endpoints`: what clients get, then what is withheld and why."""
    rows = [_endpoint_row(service, endpoint) for endpoint in service.endpoints]
    return rows + [_withheld_row(withheld) for withheld in service.withheld]


def source_text(sources: Iterable[str]) -> str:
    """Give who lists an endpoint, catalogs first: `consul+registered`."""
    catalogs = [source for source in sources if source != REGISTERED]
    return "+".join(catalogs + [s for s in sources if s == REGISTERED])


def _endpoint_row(service: Service, endpoint: Endpoint) -> Row:
    hidden = service.state is ServiceState.MESH and not endpoint.meshed
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
        "why": "; ".join(_why(service, endpoint)),
    }


def _why(service: Service, endpoint: Endpoint) -> list[str]:
    reasons = list(endpoint.reasons)
    if endpoint.held:
        reasons.append("held: its source lists it no more (hostmesh sources)")
    if not endpoint.meshed:
        withheld = service.state is ServiceState.MESH
        reasons.append(
            "unmeshed: no live registration, and the service requires the mesh"
            if withheld
            else "plain: no agent registered it"
        )
    return reasons


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
