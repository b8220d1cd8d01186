"""What a host says that its Envoy binds for itself: its instance's ports, and upstreams.

`decide` holds a host's word against its bounds; `resolve` finds the services it names. What does
not hold is a sentence in the host's Verdict, and never keeps the rest from being rendered.
"""

import ipaddress
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

from hostmesh_controlplane.logic.scope import EnvoyPorts, Upstream
from hostmesh_core import ports
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput
from hostmesh_core.ids import is_dns_name
from hostmesh_core.model import Service
from hostmesh_core.names import mesh_host

MAX_UPSTREAMS = 64
"""Listeners of one host: an app calls a handful of services."""

Services = Callable[[str], Service | None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One upstream within bounds; its service is as the host wrote it."""

    service: str
    service_port: int
    listen: str
    listen_port: int

    def __str__(self) -> str:
        """Name it in sentences."""
        where = f"[{self.listen}]" if ":" in self.listen else self.listen
        return f"upstream {where}:{self.listen_port}"


@dataclass(frozen=True, slots=True)
class OwnListeners:
    """What is left of a host's word, and a sentence for each part that is not."""

    ports: EnvoyPorts = EnvoyPorts()  # noqa: RUF009 (frozen value)
    upstreams: tuple[Wanted, ...] = ()
    notes: tuple[str, ...] = ()
    captured: bool = True
    """Whether kernel rules redirect anything to that Envoy."""


def decide(
    upstreams: Iterable[pb.Upstream],
    stated: pb.EnvoyPorts | None,
    *,
    captured: bool,
    addresses: Set[str],
    mesh_ports: Set[int],
) -> OwnListeners:
    """Take what is within bounds. `addresses` are the host's own, `mesh_ports` Envoy's for apps."""
    notes: list[str] = []
    own = EnvoyPorts()
    try:
        own = _ports(stated)
    except BadInput as error:
        notes.append(str(error))
    taken = ports.ENVOYS_OWN.union(own.all)
    found: dict[tuple[str, int], Wanted] = {}
    upstreams = tuple(upstreams)
    for upstream in upstreams[:MAX_UPSTREAMS]:
        try:
            wanted = _read(upstream, addresses)
            _check_free(wanted, taken, mesh_ports)
            if (wanted.listen, wanted.listen_port) in found:
                raise BadInput(f"cannot open {wanted}: it is there twice")
        except BadInput as error:
            notes.append(str(error))
        else:
            found[wanted.listen, wanted.listen_port] = wanted
    if len(upstreams) > MAX_UPSTREAMS:
        notes.append(f"cannot open more than {MAX_UPSTREAMS} upstreams: the others are left out")
    return OwnListeners(own, tuple(found.values()), tuple(notes), captured)


def full_name(service: str, *, namespace: str, mesh_domain: str) -> str:
    """Give the host name that an upstream's service means; empty = a short name without meaning."""
    if "." in service:
        return service
    return mesh_host(service, namespace, mesh_domain) if namespace else ""


def resolve(
    own: OwnListeners, services: Services, *, namespace: str, mesh_domain: str, ipv6: bool
) -> tuple[tuple[Upstream, ...], tuple[str, ...]]:
    """Give the upstreams whose service is there, and a sentence for each of the others."""
    found: list[Upstream] = []
    notes: list[str] = []
    for wanted in own.upstreams:
        host = full_name(wanted.service, namespace=namespace, mesh_domain=mesh_domain)
        service = services(host) if host else None
        port = service.port(wanted.service_port) if service else None
        if port is None or (":" in wanted.listen and not ipv6):
            notes.append(f"cannot open {wanted}: {_why(wanted, host, service, ipv6=ipv6)}")
            continue
        found.append(Upstream(wanted.listen, wanted.listen_port, host, port.number, port.protocol))
    return tuple(sorted(found)), tuple(notes)


def _why(wanted: Wanted, host: str, service: Service | None, *, ipv6: bool) -> str:
    if not host:
        return (
            f"{wanted.service} is a short name, and this host's grant names no single namespace; "
            "write the full host name"
        )
    if service is None:
        return f"no service {host} is known; it opens when there is one"
    if service.port(wanted.service_port) is None:
        there = ", ".join(str(port.number) for port in service.ports) or "none"
        return f"{host} has no port {wanted.service_port} (it has: {there}); it opens when it does"
    return "" if ipv6 else "this host's kernel has no IPv6"


def _ports(stated: pb.EnvoyPorts | None) -> EnvoyPorts:
    if stated is None:
        return EnvoyPorts()
    own = EnvoyPorts(
        stated.outbound, stated.inbound, stated.status, stated.readiness, stated.prometheus
    )
    pool = set(ports.IDENTITY_POOL)
    if len(set(own.all)) < len(own.all) or not all(
        0 < number < 65536 and number not in pool for number in own.all
    ):
        numbers = ", ".join(map(str, own.all))
        raise BadInput(
            f"cannot use the ports {numbers} for Envoy: expected five different ones from 1 to "
            f"65535 outside {min(pool)} to {max(pool)}; the default instance's are used"
        )
    return own


def _read(upstream: pb.Upstream, addresses: Set[str]) -> Wanted:
    if not is_dns_name(upstream.service):
        raise BadInput(
            f"cannot open an upstream to {upstream.service[:64]!r}: expected a DNS name in lower "
            "case"
        )
    try:
        ip = ipaddress.ip_address(upstream.listen_address)
    except ValueError as error:
        raise BadInput(
            f"cannot open an upstream to {upstream.service} at "
            f"{upstream.listen_address[:64]!r}: not an IP address"
        ) from error
    wanted = Wanted(upstream.service, upstream.port, str(ip), upstream.listen_port)
    if not (0 < wanted.service_port < 65536 and 0 < wanted.listen_port < 65536):
        raise BadInput(f"cannot open {wanted} to port {wanted.service_port}: expected 1 to 65535")
    if not ip.is_loopback and str(ip) not in addresses:
        seen = ", ".join(sorted(addresses)) or "no other"
        raise BadInput(f"cannot open {wanted}: expected loopback or this host's address ({seen})")
    return wanted


def _check_free(wanted: Wanted, taken: Set[int], mesh_ports: Set[int]) -> None:
    if wanted.listen_port in taken:
        raise BadInput(f"cannot open {wanted}: the port is the proxy's own")
    if wanted.listen_port in mesh_ports:
        raise BadInput(f"cannot open {wanted}: the port is a mesh_port of this host")
