"""From what a host may serve to what its Envoy is told about it: protocols and modes settled."""

from collections.abc import Callable, Iterable

from hostmesh_controlplane.logic.registry import Inbound as Declared
from hostmesh_controlplane.logic.scope import EnvoyPorts, Inbound, InboundPort, Upstream
from hostmesh_core.model import InboundMode, Protocol, Service

DEFAULT_PORTS = EnvoyPorts()
Services = Callable[[str], Service | None]
"""Gives the merged service of a host name, None while it has none."""


def mode_of(
    declared: InboundMode | None, service: InboundMode | None, mesh_wide: InboundMode
) -> InboundMode:
    """Settle the mode: the host's own word, except that it cannot lower what an operator raised.

    What the operator says of the service counts before what he says of the mesh.
    """
    wanted = service or mesh_wide
    return wanted if wanted is InboundMode.STRICT else declared or wanted


def _port(declared: Declared, services: Services, mesh_wide: InboundMode) -> InboundPort:
    service = services(declared.service)
    known = service.port(declared.service_port) if service else None
    return InboundPort(
        workload_port=declared.workload_port,
        protocol=declared.protocol or (known.protocol if known else Protocol.TCP),
        service=declared.service,
        service_port=declared.service_port,
        identity=declared.identity,
        mode=mode_of(declared.mode, service.inbound if service else None, mesh_wide),
        listen=declared.listen,
        mesh_port=declared.mesh_port,
        server_first=declared.server_first,
    )


def inbound_of(
    declared: Iterable[Declared],
    services: Services,
    *,
    mesh_wide: InboundMode,
    trust_domain: str,
    upstreams: tuple[Upstream, ...] = (),
    envoy: EnvoyPorts = DEFAULT_PORTS,
) -> Inbound:
    """Give what the host's inbound resources are rendered from."""
    ports = sorted(_port(one, services, mesh_wide) for one in declared)
    return Inbound(trust_domain=trust_domain, ports=tuple(ports), upstreams=upstreams, envoy=envoy)
