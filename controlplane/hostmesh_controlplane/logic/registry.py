"""Decides what a host may register (DESIGN 5 and 6): declarations in, instances and refusals out.

Trusted are the grant and the addresses that the host's own streams came from. A catalog only says
which of those addresses is the service's; it makes nobody entitled to anything.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass

from hostmesh_controlplane.logic import declarations
from hostmesh_controlplane.logic.claimant import Claimant, no_address, one_per_family, own_addresses
from hostmesh_controlplane.logic.declarations import Declaration, DeclarationKey
from hostmesh_controlplane.logic.entitlement import NotAllowed, Why, entitled, short
from hostmesh_core import ports
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Grant
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId, is_dns_name
from hostmesh_core.model import (
    MAX_PORTS,
    Health,
    InboundMode,
    Port,
    Protocol,
    RegisteredInstance,
)

Holder = tuple[str, str]
"""Host id and service host name that a key is registered for."""
HealthSaid = tuple[Health, tuple[str, ...]]
HealthOf = Mapping[DeclarationKey, HealthSaid]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the mesh says beside the host."""

    mesh_domain: str
    catalogued: Callable[[str], Set[EndpointKey]]
    """All keys that catalogs list for a service's host name; asked often, so it must be cheap."""
    accepted_ids: Callable[[str], Set[SpiffeId]]
    """The SPIFFE ids that the service's own configuration names (subjectAltNames)."""
    holder: Callable[[EndpointKey], Holder | None]
    """Who has the key registered now."""
    reserved: tuple[str, ...] = ()
    """CIDRs that are nobody's address: the virtual ranges."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """One port of the host's own Envoy; None = the host left it to service or mesh."""

    service: str
    service_port: int
    workload_port: int
    identity: Identity
    protocol: Protocol | None
    mode: InboundMode | None
    listen: tuple[str, int] | None
    mesh_port: int
    server_first: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """One declaration that holds."""

    declaration: Declaration
    inbound: Inbound
    instance: RegisteredInstance | None
    """None where it is declared only."""
    keys: tuple[EndpointKey, ...]
    note: str = ""
    """What was left out, as a sentence."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One declaration that does not hold, and the sentence for host and log."""

    service: str
    port: int
    why: Why
    reason: str
    host: str = ""
    """Full host name, where it could be read."""
    workload_port: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of all that a host declares."""

    accepted: tuple[Accepted, ...] = ()
    refused: tuple[Refusal, ...] = ()
    crowded: frozenset[str] = frozenset()
    """Full host names of services that the host declares on too many ports: on none of them they
    hold, so that which port comes first decides nothing.
    """

    @property
    def instances(self) -> tuple[RegisteredInstance, ...]:
        """What the host has registered."""
        return tuple(item.instance for item in self.accepted if item.instance is not None)


def decide(
    services: Iterable[pb.ServiceRegistration],
    health: HealthOf,
    host: Claimant,
    around: Surroundings,
    *,
    crowded: Set[str] = frozenset(),
) -> Decision:
    """Hold every declaration of one host against its grant, its addresses and who else is there.

    `crowded`: services that are known to be on too many ports, of which these are only a part.
    """
    accepted: list[Accepted] = []
    refused: list[Refusal] = []
    served: dict[int, str] = {}
    read = [(service, _read(service, host, around)) for service in services]
    counted = Counter(one.host for _, one in read if isinstance(one, Declaration))
    over = crowded | {name for name, count in counted.items() if count > MAX_PORTS}
    for service, one in read:
        name = one.host if isinstance(one, Declaration) else ""
        try:
            declared = _within_bounds(one, over)
            item = _accept(declared, health.get(declarations.key_of(service)), host, around)
            _claim(item, served)
        except NotAllowed as error:
            about = (service.service, service.port, error.why, str(error), name)
            refused.append(Refusal(*about, service.workload_port))
        else:
            accepted.append(item)
    return Decision(tuple(accepted), tuple(refused), frozenset(over))


def outbound_identities(
    stated: Iterable[pb.OutboundIdentity], grant: Grant, *, port: int = ports.OUTBOUND_CAPTURE
) -> tuple[tuple[tuple[int, Identity], ...], tuple[Refusal, ...]]:
    """Give which identity speaks on each outbound capture port, and what the grant refuses.

    Nothing stated: the grant's only identity on the instance's own `port`, where it has just one.
    """
    found: dict[int, Identity] = {}
    refused = []
    stated = list(stated)
    if not stated and (default := grant.default_identity()) is not None:
        found[port] = default
    for item in stated[: len(ports.IDENTITY_POOL) + 1]:
        identity = Identity(item.namespace, item.service_account)
        if grant.allows_identity(identity) and 0 < item.capture_port < 65536:
            found[item.capture_port] = identity
        else:
            reason = f"cannot let this host speak as {identity}: its grant does not cover it"
            refused.append(Refusal("", item.capture_port, Why.NOT_GRANTED, reason))
    return tuple(sorted(found.items())), tuple(refused)


def _read(
    service: pb.ServiceRegistration, host: Claimant, around: Surroundings
) -> Declaration | NotAllowed:
    try:
        return declarations.read(service, host.grant, mesh_domain=around.mesh_domain)
    except BadInput as error:
        # A name that is none may hold anything, line ends included.
        name = service.service if is_dns_name(service.service) else repr(service.service[:64])
        return NotAllowed(Why.UNREADABLE, f"{name} refused: {error}")


def _within_bounds(one: Declaration | NotAllowed, over: Set[str]) -> Declaration:
    if isinstance(one, NotAllowed):
        raise one
    if one.host in over:
        raise NotAllowed(
            Why.TOO_MANY,
            f"{one.written}:{one.port} refused: this host declares {one.host} on more than "
            f"{MAX_PORTS} ports; state at most {MAX_PORTS} of them in services",
        )
    return one


def _accept(
    declared: Declaration, health: HealthSaid | None, host: Claimant, around: Surroundings
) -> Accepted:
    entitled(declared, host, mesh_domain=around.mesh_domain, accepted=around.accepted_ids)
    addresses, note = _addresses(declared, host, around)
    keys = tuple(
        EndpointKey(declared.network, address, declared.endpoint_port) for address in addresses
    )
    for key in keys:
        _not_taken(declared, key, host, around)
    instance = None
    if not declared.declared_only:
        given = health or declarations.health_of(pb.STATUS_UNSPECIFIED, "")
        instance = _instance(declared, keys, given, host, around)
    return Accepted(declared, _inbound(declared), instance, keys, note)


def _addresses(
    declared: Declaration, host: Claimant, around: Surroundings
) -> tuple[tuple[str, ...], str]:
    """Choose one address per family (DESIGN 5); give them and a note on what was left out."""
    listed = _listed(declared, host, around)
    held = _held(declared, host, around) if declared.addresses else ()
    stays = tuple(address for address in held if address in declared.addresses)
    wanted = one_per_family([*stays, *listed]) or declared.addresses or own_addresses(host)
    at = f"{declared.written}:{declared.endpoint_port}"
    if not wanted:
        raise NotAllowed(Why.ADDRESS, f"{at} refused: {no_address(host)}")
    problems = {address: _unusable(address, host, around) for address in wanted}
    good = tuple(address for address in wanted if not problems[address])
    said = "; ".join(
        f"{declared.written} {EndpointKey('', address, declared.endpoint_port)} refused: {problem}"
        for address, problem in problems.items()
        if problem
    )
    said = "; ".join(filter(None, (said, _not_moved(declared, stays, listed))))
    if listed and not good:
        good = _held(declared, host, around)
    if not good:
        raise NotAllowed(Why.ADDRESS, said)
    return good, said


def _not_moved(declared: Declaration, stays: tuple[str, ...], listed: tuple[str, ...]) -> str:
    """Say where a catalog would have moved what is registered under a stated address.

    Its writer shall not lead a service to another network of its host, past what the host states.
    """
    kept = {":" in address: address for address in stays}
    return "; ".join(
        f"{declared.written} stays at {kept[':' in address]} as services[].address says, though "
        f"a catalog lists it at {address}"
        for address in listed
        if kept.get(":" in address, address) != address
    )


def _held(declared: Declaration, host: Claimant, around: Surroundings) -> tuple[str, ...]:
    """Give the addresses by which the host has the service now: what it holds by right, no
    catalog's word takes away.
    """
    own = sorted({*host.has, *declared.addresses})
    keys = (EndpointKey(declared.network, address, declared.endpoint_port) for address in own)
    held = (k.address for k in keys if around.holder(k) == (host.host_id, declared.host))
    return one_per_family(a for a in held if not _unusable(a, host, around))


def _listed(declared: Declaration, host: Claimant, around: Surroundings) -> tuple[str, ...]:
    """Give the addresses of this host that catalogs list for the service, one per family."""
    own = {*host.has, *declared.addresses}
    workload = {declared.workload_port, declared.endpoint_port}
    catalogued = around.catalogued(declared.host)
    found = {  # asked per key of this host: a service has thousands, and every host of it asks
        address
        for address in own
        if any(EndpointKey(declared.network, address, port) in catalogued for port in workload)
    }

    def preferred(address: str) -> tuple[bool, ...]:
        return (
            not host.may_use(address),
            address not in declared.addresses,
            address != host.source,
        )

    return one_per_family(sorted(found, key=lambda address: (preferred(address), address)))


def _unusable(address: str, host: Claimant, around: Surroundings) -> str:
    """Say why an address does not count; empty = it does."""
    ip = ipaddress.ip_address(address)
    networks = map(ipaddress.ip_network, around.reserved)
    if ip.is_unspecified or ip.is_multicast or any(ip in network for network in networks):
        return f"{address} is no host's address; set services[].address"
    if (ip.is_loopback or ip.is_link_local) and not host.grant.allows_address(address):
        return f"peers cannot reach {address}; set services[].address"
    if host.may_use(address):
        return ""
    seen = ", ".join(sorted(host.proven)) or "no address"
    return (
        f"the control plane sees {seen} and the grant of host {short(host)} has no CIDR for "
        f"{address}; allow it with: hostmesh host grant {host.host_id} "
        f"--add-cidr {address}/{ip.max_prefixlen}"
    )


def _not_taken(
    declared: Declaration, key: EndpointKey, host: Claimant, around: Surroundings
) -> None:
    holder = around.holder(key)
    if holder is None:
        return
    other_host, other_service = holder
    if other_host != host.host_id:
        raise NotAllowed(
            Why.TAKEN,
            f"{declared.written} {key} refused: host {other_host} has registered it for "
            f"{other_service}; it is free when that host's lease ends or it leaves",
        )


def _claim(item: Accepted, served: dict[int, str]) -> None:
    """Refuse what another declaration of this very message has already."""
    declared = item.declaration
    port = declared.endpoint_port
    if port in served:
        raise NotAllowed(
            Why.TAKEN,
            f"{declared.written}:{declared.port} refused: this host serves {served[port]} on port "
            f"{port}; a port belongs to one service",
        )
    served[port] = declared.host


def _instance(
    declared: Declaration,
    keys: tuple[EndpointKey, ...],
    health: HealthSaid,
    host: Claimant,
    around: Surroundings,
) -> RegisteredInstance:
    return RegisteredInstance(
        host_id=host.host_id,
        service=declared.host,
        namespace=declared.namespace,
        port=Port(
            declared.port,
            declared.protocol or Protocol.TCP,
            protocol_defaulted=declared.protocol is None,
            server_first=declared.server_first,
        ),
        keys=keys,
        workload_port=declared.workload_port,
        identity=SpiffeId.of_workload(around.mesh_domain, declared.identity),
        weight=declared.weight,
        locality=declared.locality,
        labels=declared.labels,
        health=health[0],
        reasons=health[1],
        require_mesh=host.grant.require_mesh,
    )


def _inbound(declared: Declaration) -> Inbound:
    explicit = declared.endpoint_port != declared.workload_port
    return Inbound(
        service=declared.host,
        service_port=declared.port,
        workload_port=declared.workload_port,
        identity=declared.identity,
        protocol=declared.protocol,
        mode=declared.inbound_mode,
        listen=declared.listen,
        mesh_port=declared.endpoint_port if explicit else 0,
        server_first=declared.server_first,
    )
