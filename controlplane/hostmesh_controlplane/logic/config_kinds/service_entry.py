"""Istio's ServiceEntry: a service, with its endpoints or a selector of WorkloadEntries.

Spec: networking.istio.io ServiceEntry; supported is resolution STATIC. `addresses` are checked and
not used: every service has virtual addresses of its own, so that several TCP services on one port
do not shadow each other. What Istio has no field for is an annotation `hostmesh.io/…`.
"""

import ipaddress
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator, model_validator

from hostmesh_controlplane.logic.config_kinds.resource import (
    Resource,
    Strict,
    Unusable,
    annotations,
    one_of,
)
from hostmesh_controlplane.logic.config_kinds.workload_entry import WorkloadEntrySpec
from hostmesh_core.documents import Path, Problem, did_you_mean
from hostmesh_core.errors import BadInput
from hostmesh_core.ids import SpiffeId, is_dns_label, is_dns_name
from hostmesh_core.model import Port, Protocol

ANNOTATIONS = ("aliases", "namespace", "require-mesh", "server-first")

PROTOCOLS = {
    "HTTP": Protocol.HTTP,
    "HTTP2": Protocol.HTTP2,
    "GRPC": Protocol.GRPC,
    "GRPC-WEB": Protocol.HTTP,
    "HTTPS": Protocol.HTTPS,
    "TLS": Protocol.HTTPS,
    "TCP": Protocol.TCP,
    "MONGO": Protocol.TCP,
    "MYSQL": Protocol.TCP,
    "REDIS": Protocol.TCP,
}
SERVER_FIRST = frozenset({"MYSQL"})
"""Protocols whose server always speaks first."""


class ServicePort(Strict):
    """One of `ports`."""

    number: int
    name: str
    protocol: str = ""
    targetPort: int = 0  # noqa: N815 (Istio's own key)

    @field_validator("number", "targetPort")
    @classmethod
    def _port(cls, value: int) -> int:
        if not 0 < value < 65536:
            raise ValueError(f"{value}; expected 1 to 65535")
        return value

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not is_dns_label(value):
            raise ValueError(f'"{value}" is no DNS label in lower case')
        return value

    @field_validator("protocol")
    @classmethod
    def _protocol(cls, value: str) -> str:
        upper = value.upper()
        if upper == "UDP":
            raise ValueError("UDP is not carried by the mesh; leave the port out")
        if upper and upper not in PROTOCOLS:
            raise ValueError(f'"{value}" is unknown{one_of(value, PROTOCOLS)}')
        return upper


class WorkloadSelector(Strict):
    """`workloadSelector`: labels that a WorkloadEntry of the same namespace must have."""

    labels: dict[str, str]

    @field_validator("labels")
    @classmethod
    def _not_empty(cls, value: dict[str, str]) -> dict[str, str]:
        if not value or any(not key or "*" in key + text for key, text in value.items()):
            raise ValueError("expected at least one label, without wildcards")
        return value


class ServiceEntrySpec(Strict):
    """The spec."""

    hosts: list[str] = Field(min_length=1)
    addresses: list[str] = Field(default_factory=list)
    ports: list[ServicePort] = Field(min_length=1)
    location: Literal["MESH_INTERNAL", "MESH_EXTERNAL"] = "MESH_INTERNAL"
    resolution: str = "NONE"
    endpoints: list[WorkloadEntrySpec] = Field(default_factory=list)
    workloadSelector: WorkloadSelector | None = None  # noqa: N815 (Istio's own key)
    exportTo: list[str] = Field(default_factory=lambda: ["*"])  # noqa: N815
    subjectAltNames: list[str] = Field(default_factory=list)  # noqa: N815

    @field_validator("hosts")
    @classmethod
    def _full_names(cls, value: list[str]) -> list[str]:
        hosts = [host.lower().removesuffix(".") for host in value]
        for host in hosts:
            if "*" in host:
                raise ValueError(f'"{host}": wildcards are not supported; write each name')
            if not is_dns_name(host) or "." not in host or host.rpartition(".")[2].isdigit():
                raise ValueError(
                    f'"{host}" is no full host name, such as reviews.default.mesh.internal'
                )
        if len(set(hosts)) < len(hosts):
            raise ValueError("a host is named twice")
        return hosts

    @field_validator("addresses")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for address in value:
            try:
                ipaddress.ip_network(address, strict=False)
            except ValueError:
                raise ValueError(f'"{address}" is neither an IP address nor a CIDR') from None
        return value

    @field_validator("resolution")
    @classmethod
    def _static(cls, value: str) -> str:
        known = ("STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS", "NONE")
        if value not in known:
            raise ValueError(f'"{value}" is unknown{one_of(value, known)}')
        if value != "STATIC":
            raise ValueError(f"{value} is not supported; supported is STATIC")
        return value

    @field_validator("exportTo")
    @classmethod
    def _everywhere(cls, value: list[str]) -> list[str]:
        if value != ["*"]:
            raise ValueError('only "*" is supported: every namespace sees the service')
        return value

    @field_validator("subjectAltNames")
    @classmethod
    def _spiffe_ids(cls, value: list[str]) -> list[str]:
        for uri in value:
            try:
                spiffe_id = SpiffeId.parse(uri)
            except BadInput as error:
                raise ValueError(str(error)) from None
            if spiffe_id.path.startswith("/hostmesh/"):
                raise ValueError(f'"{uri}" is reserved for hosts; no workload has it')
        return value

    @model_validator(mode="after")
    def _one_way_to_name_endpoints(self) -> "ServiceEntrySpec":
        if self.endpoints and self.workloadSelector:
            raise ValueError("endpoints and workloadSelector exclude each other; keep one")
        return self


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """A ServiceEntry that can be used."""

    resource: Resource
    spec: ServiceEntrySpec
    namespace: str
    ports: tuple[Port, ...]
    aliases: tuple[str, ...] = ()
    require_mesh: bool = False

    @property
    def subject_alt_names(self) -> tuple[SpiffeId, ...]:
        """The ids that clients accept beside the service's own."""
        return tuple(SpiffeId.parse(uri) for uri in self.spec.subjectAltNames)

    def target(self, port: ServicePort, workload: WorkloadEntrySpec) -> int:
        """Give the port of an instance: its own statement, then targetPort, then the number."""
        return workload.ports.get(port.name) or port.targetPort or port.number


def read_service_entry(resource: Resource, *, mesh_domain: str) -> ServiceEntry:
    """Read a ServiceEntry. Raises Unusable with all that is wrong in the spec."""
    if "resolution" not in resource.envelope.spec:
        # Istio takes NONE then; the key is missed more often than NONE is meant.
        problem = resource.problem(("spec",), "spec.resolution is missing; supported is STATIC")
        raise Unusable([problem], resource.name)
    spec = resource.spec(ServiceEntrySpec)
    ours = annotations(resource, ANNOTATIONS)
    namespace = ours.get("namespace", resource.name.namespace)
    check = _Check(resource, spec, mesh_domain)
    check.namespace(namespace)
    check.unique_ports()
    check.endpoints()
    server_first = check.server_first(ours.get("server-first", ""))
    aliases = check.aliases(ours.get("aliases", ""))
    require_mesh = check.true_or_false("require-mesh", ours.get("require-mesh", "false"))
    if check.problems:
        raise Unusable(check.problems, resource.name)
    ports = tuple(_port(port, server_first=port.name in server_first) for port in spec.ports)
    return ServiceEntry(resource, spec, namespace, ports, aliases, require_mesh)


def _port(port: ServicePort, *, server_first: bool) -> Port:
    return Port(
        port.number,
        PROTOCOLS.get(port.protocol, Protocol.TCP),
        port.name,
        protocol_defaulted=not port.protocol,
        server_first=server_first or port.protocol in SERVER_FIRST,
    )


class _Check:
    """What pydantic cannot see: it collects, so that one reading tells all problems."""

    def __init__(self, resource: Resource, spec: ServiceEntrySpec, mesh_domain: str) -> None:
        self.resource = resource
        self.spec = spec
        self.mesh_domain = mesh_domain
        self.problems: list[Problem] = []

    def wrong(self, path: Path, message: str) -> None:
        """Note one problem."""
        self.problems.append(self.resource.problem(path, message))

    def annotation(self, key: str, message: str) -> None:
        """Note what is wrong with one of our annotations."""
        name = f"hostmesh.io/{key}"
        self.wrong(("metadata", "annotations", name), f"annotation {name}: {message}")

    def namespace(self, namespace: str) -> None:
        """A mesh name states its namespace itself: the two must agree."""
        if not is_dns_label(namespace):
            self.annotation("namespace", f'"{namespace}" is no DNS label in lower case')
        for index, host in enumerate(self.spec.hosts):
            label = host.removesuffix(f".{self.mesh_domain}")
            if label == host:
                continue
            service, _, stated = label.partition(".")
            if not stated or "." in stated:
                self.wrong(
                    ("spec", "hosts", index),
                    f'spec.hosts[{index}]: "{host}" is no mesh name; expected '
                    f"{service}.{namespace}.{self.mesh_domain}",
                )
            elif stated != namespace:
                self.wrong(
                    ("spec", "hosts", index),
                    f'spec.hosts[{index}]: "{host}" is in namespace {stated}, its document in '
                    f"{namespace}; set metadata.namespace: {stated}",
                )

    def unique_ports(self) -> None:
        """Names and numbers of ports are keys."""
        for what in ("name", "number"):
            seen: set[str | int] = set()
            for index, port in enumerate(self.spec.ports):
                value = port.name if what == "name" else port.number
                if value in seen:
                    path = ("spec", "ports", index, what)
                    self.wrong(path, f"spec.ports[{index}].{what} {value} is there twice")
                seen.add(value)

    def endpoints(self) -> None:
        """An endpoint may only state ports that the service has."""
        known = [port.name for port in self.spec.ports]
        for index, endpoint in enumerate(self.spec.endpoints):
            for name in endpoint.ports:
                if name not in known:
                    self.wrong(
                        ("spec", "endpoints", index, "ports", name),
                        f'spec.endpoints[{index}].ports names the port "{name}", which the '
                        f"service does not have{did_you_mean(name, known)}",
                    )

    def server_first(self, text: str) -> frozenset[str]:
        """Read `server-first`: `true` for all ports, or port names."""
        known = [port.name for port in self.spec.ports]
        if text in ("", "false"):
            return frozenset()
        if text == "true":
            return frozenset(known)
        names = _words(text)
        for name in names:
            if name not in known:
                self.annotation(
                    "server-first",
                    f'the service has no port "{name}"{did_you_mean(name, known)}',
                )
        return frozenset(names)

    def aliases(self, text: str) -> tuple[str, ...]:
        """Read `aliases`: further full names."""
        names = tuple(name.lower().removesuffix(".") for name in _words(text))
        for name in names:
            if not is_dns_name(name) or "." not in name:
                self.annotation("aliases", f'"{name}" is no full host name')
        return names

    def true_or_false(self, key: str, text: str) -> bool:
        """Read a switch."""
        if text not in ("true", "false"):
            self.annotation(key, f'expected "true" or "false", not "{text}"')
        return text == "true"


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()
