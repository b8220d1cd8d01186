"""Reads what a host says about one of its services into types (DESIGN 7, `ServiceRegistration`).

Nothing is believed here yet: `registry` holds it against the grant. What cannot be read, or is out
of bounds, is refused with a sentence that the status page of the host shows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import Identity, canonical_address, is_dns_label, is_dns_name
from hostmesh_core.model import Health, InboundMode, Labels, Locality, Protocol, labels_of
from hostmesh_core.names import mesh_host
from hostmesh_core.one_line import shortened

MAX_LABELS = 64
MAX_TEXT = 253
MAX_WEIGHT = 65_535
"""A weight is a share of the service's requests: without a bound one host could take them all."""

NOT_CAPTURED = "not captured"
"""Begins the reason of an endpoint whose host has lost Envoy or its rules: it is out, never
plaintext."""
NOT_CHECKED = "not checked yet"

DeclarationKey = tuple[str, str, int]
"""Service and namespace as the host writes them, and the workload port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One service as a host declares it, well-formed but not yet entitled."""

    written: str
    """As the host wrote it; names it in verdicts."""
    host: str
    """Full host name."""
    short: str
    """The name that a grant covers: the first label of a mesh name, else the full name."""
    namespace: str
    identity: Identity
    port: int
    endpoint_port: int
    workload_port: int
    protocol: Protocol | None
    server_first: bool
    addresses: tuple[str, ...]
    network: str
    listen: tuple[str, int] | None
    inbound_mode: InboundMode | None
    labels: Labels
    weight: int
    locality: Locality
    declared_only: bool


def key_of(service: pb.ServiceRegistration) -> DeclarationKey:
    """Give what makes two declarations of one host the same one."""
    return (service.service, service.namespace, service.workload_port)


def read(service: pb.ServiceRegistration, grant: Grant, *, mesh_domain: str) -> Declaration:
    """Read one declaration; what it leaves out comes from the grant. Raises BadInput."""
    host, short, namespace, account = _names(service, grant, mesh_domain=mesh_domain)
    return Declaration(
        written=service.service,
        host=host,
        short=short,
        namespace=namespace,
        identity=Identity(namespace, account),
        port=_port(service.port or service.workload_port, "port"),
        endpoint_port=_port(service.endpoint_port or service.workload_port, "endpoint_port"),
        workload_port=_port(service.workload_port, "workload_port"),
        protocol=_protocol(service.protocol),
        server_first=service.server_first,
        addresses=_addresses(service.addresses),
        network=_text(service.network, "network"),
        listen=_listen(service.listen),
        inbound_mode=_mode(service.inbound_mode),
        labels=_labels(service.labels, grant),
        weight=_weight(service.weight),
        locality=Locality(_text(service.region, "region"), _text(service.zone, "zone")),
        declared_only=service.declared_only,
    )


def health_of(status: pb.Status, reason: str) -> tuple[Health, tuple[str, ...]]:
    """Give health and reasons. A new entry is unhealthy until its host says otherwise."""
    if status == pb.STATUS_HEALTHY:
        return Health.HEALTHY, ()
    said = shortened(reason, MAX_TEXT)
    if status == pb.STATUS_NOT_CAPTURED:
        return Health.UNHEALTHY, (f"{NOT_CAPTURED}: {said}" if said else NOT_CAPTURED,)
    if status == pb.STATUS_UNHEALTHY:
        return Health.UNHEALTHY, (said or "its host says so",)
    return Health.UNHEALTHY, (NOT_CHECKED,)


def _names(
    service: pb.ServiceRegistration, grant: Grant, *, mesh_domain: str
) -> tuple[str, str, str, str]:
    """Give full host name, granted name, namespace and account."""
    default = grant.default_identity()
    name = service.service
    if not is_dns_name(name):
        raise BadInput(f"cannot use service name {name[:64]!r}: expected a DNS name in lower case")
    namespace = service.namespace or _only_namespace(grant)
    short, _, rest = name.partition(".")
    if name == mesh_domain or name.endswith("." + mesh_domain):
        inner = name.removesuffix(mesh_domain).rstrip(".").split(".")
        if len(inner) != 2:
            raise BadInput(
                f"cannot use service name {name!r}: a name of the mesh is "
                f"<service>.<namespace>.{mesh_domain}"
            )
        namespace = service.namespace or inner[1]
        if namespace != inner[1]:
            raise BadInput(
                f"cannot use service name {name!r} in namespace {namespace}: the name says "
                f"{inner[1]}"
            )
    if not is_dns_label(namespace):
        raise BadInput(
            f"cannot tell the namespace of {name}: the grant does not name just one; "
            f"set services[].namespace"
        )
    host = mesh_host(name, namespace, mesh_domain) if not rest else name
    granted = short if host == mesh_host(short, namespace, mesh_domain) else name
    account = service.service_account or (
        default.service_account if default and default.namespace == namespace else short
    )
    if not is_dns_label(account):
        raise BadInput(f"cannot use service account {account[:64]!r}: expected one DNS label")
    return host, granted, namespace, account


def _only_namespace(grant: Grant) -> str:
    namespaces = {claim.namespace for claim in grant.claims}
    return namespaces.pop() if len(namespaces) == 1 else ""


def covering_claims(grant: Grant, declaration: Declaration) -> tuple[Claim, ...]:
    """Give the claims of the grant that entitle to register this service under this identity.

    A pattern without a dot never covers a name of another domain: `*` means all services of the
    claim's namespace, not every name there is.
    """
    return tuple(
        claim
        for claim in grant.claims
        if ("." in claim.service or "." not in declaration.short)
        and Grant(claims=(claim,)).allows_service(declaration.identity, declaration.short)
    )


def _port(number: int, field: str) -> int:
    if not 0 < number < 65536:
        raise BadInput(f"cannot use {field} {number}: expected 1 to 65535")
    return number


def _protocol(text: str) -> Protocol | None:
    if text and text not in list(Protocol):
        raise BadInput(f"cannot use protocol {text[:64]!r}: expected one of {', '.join(Protocol)}")
    return Protocol(text) if text else None


def _mode(text: str) -> InboundMode | None:
    if text and text not in list(InboundMode):
        raise BadInput(
            f"cannot use inbound {text[:64]!r}: expected one of {', '.join(InboundMode)}"
        )
    return InboundMode(text) if text else None


def _addresses(texts: Iterable[str]) -> tuple[str, ...]:
    found = [_address(text) for text in texts]
    families = [":" in address for address in found]
    if len(set(families)) != len(families):
        raise BadInput(f"cannot use addresses {', '.join(found)}: expected one per address family")
    return tuple(found)


def _address(text: str) -> str:
    try:
        return canonical_address(text)
    except ValueError as error:
        raise BadInput(f"cannot use address {text[:64]!r}: {error}") from error


def _listen(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    address, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit()):
        raise BadInput(f"cannot use listen {text[:64]!r}: expected address:port")
    return _address(address.strip("[]")), _port(int(port), "listen port")


def _labels(labels: Mapping[str, str], grant: Grant) -> Labels:
    said = dict(labels)
    if len(said) > MAX_LABELS or any(max(len(k), len(v)) > MAX_TEXT for k, v in said.items()):
        raise BadInput(f"cannot use the labels: at most {MAX_LABELS} of {MAX_TEXT} characters each")
    # What the grant states is the operator's word and wins.
    return labels_of(said | dict(grant.labels))


def _weight(weight: int) -> int:
    if weight > MAX_WEIGHT:
        raise BadInput(f"cannot use weight {weight}: at most {MAX_WEIGHT}")
    return weight or 1


def _text(text: str, field: str) -> str:
    if len(text) > MAX_TEXT:
        raise BadInput(f"cannot use {field}: longer than {MAX_TEXT} characters")
    return text
