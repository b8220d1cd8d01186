"""What one host says it serves, remembered between its messages and over a restart.

`Register` is complete: what it leaves out is gone. What it only declares gets inbound resources and
no endpoint, and a registration of it that lives stays as it is (an agent that restarts declares
first, and registers after its proof).
"""

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from hostmesh_controlplane.logic.declarations import DeclarationKey, health_of, key_of
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.model import Health
from hostmesh_core.names import declaration

MAX_ADDRESSES = 64
"""Interface addresses that are looked at; a host with more has them for its containers."""

HealthSaid = tuple["pb.Status", str]
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One host's word. A change is a new value; the messages in it are never changed."""

    declared: tuple[pb.ServiceRegistration, ...] = ()
    """All services of the last Register."""
    registered: Mapping[DeclarationKey, pb.ServiceRegistration] = field(default_factory=dict)
    outbound: tuple[pb.OutboundIdentity, ...] = ()
    interfaces: frozenset[str] = frozenset()
    upstreams: tuple[pb.Upstream, ...] = ()
    ports: pb.EnvoyPorts | None = None
    """None = the default instance's."""
    explicit_mode: bool = False
    said: Mapping[DeclarationKey, HealthSaid] = field(default_factory=dict)

    @property
    def health(self) -> Mapping[DeclarationKey, tuple[Health, tuple[str, ...]]]:
        """Health and reasons per declaration."""
        return {key: health_of(status, reason) for key, (status, reason) in self.said.items()}

    def with_register(self, register: pb.Register) -> Self:
        """Take in a Register."""
        registered = {}
        said = {}
        for service in register.services:
            key = key_of(service)
            known = self.registered.get(key)
            if not service.declared_only:
                registered[key] = service
            elif known is not None:
                registered[key] = known
            said[key] = self._said(key, service)
        return replace(
            self,
            declared=tuple(register.services),
            registered=registered,
            outbound=tuple(register.outbound),
            interfaces=frozenset(register.host_addresses[:MAX_ADDRESSES]),
            upstreams=tuple(register.upstreams),
            ports=register.ports if register.HasField("ports") else None,
            explicit_mode=register.explicit_mode,
            said=said,
        )

    def with_health(self, report: pb.HealthReport) -> Self:
        """Take in a report; one about an unknown service changes nothing."""
        key = key_of_report(report)
        if key not in self.said:
            return self
        return replace(self, said={**self.said, key: (report.status, report.reason)})

    def declares_else(self, before: Self) -> bool:
        """Whether anything but health differs."""
        return replace(self, said={}) != replace(before, said={})

    def without(self, keys: Set[DeclarationKey]) -> Self:
        """Deregister these; none named = all."""
        kept = {k: s for k, s in self.registered.items() if keys and k not in keys}
        return replace(self, registered=kept)

    def _said(self, key: DeclarationKey, service: pb.ServiceRegistration) -> HealthSaid:
        known = self.said.get(key)
        unsaid = service.declared_only and service.health == pb.STATUS_UNSPECIFIED
        if known is not None and (unsaid or known[0] == service.health):
            return known  # a Register has no reasons
        return service.health, ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRegistration:
    """What outlives this process: what the host's proxy is shown before the host speaks again, the
    registered services among it, and the addresses that were proven.
    """

    registration: Registration
    addresses: tuple[str, ...]
    owner: str
    """The replica that holds the lease, 128 random bits in hex."""
    epoch: int
    """Grows when the owner changes: a former owner's late write is told by it."""

    def to_bytes(self) -> bytes:
        """Give the stored form."""
        said, registered = self.registration.said, self.registration.registered
        declared = {key_of(service): service for service in self.registration.declared}
        every = {**declared, **registered}
        services = [
            {
                "declaration": _to_json(service),
                "registered": key in registered,
                "status": int(said[key][0]) if key in said else 0,
                "reason": said[key][1] if key in said else "",
            }
            for key, service in sorted(every.items())
        ]
        value = {
            "services": services,
            "outbound": [_to_json(identity) for identity in self.registration.outbound],
            "interfaces": sorted(self.registration.interfaces),
            "explicit_mode": self.registration.explicit_mode,
            "upstreams": [_to_json(upstream) for upstream in self.registration.upstreams],
            "ports": _to_json(self.registration.ports) if self.registration.ports else None,
            "addresses": list(self.addresses),
            "owner": self.owner,
            "epoch": self.epoch,
        }
        return json.dumps(value, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Read the stored form. Fields that a newer version wrote are ignored."""
        value = json.loads(stored)
        services = [
            (_read(item["declaration"], pb.ServiceRegistration()), item)
            for item in value["services"]
        ]
        return cls(
            registration=Registration(
                declared=tuple(service for service, _ in services),
                registered={
                    key_of(service): service
                    for service, item in services
                    if item.get("registered", True)  # older versions wrote nothing else
                },
                outbound=tuple(
                    _read(one, pb.OutboundIdentity()) for one in value.get("outbound", ())
                ),
                interfaces=frozenset(value["interfaces"]),
                explicit_mode=value.get("explicit_mode", False),
                upstreams=tuple(_read(one, pb.Upstream()) for one in value.get("upstreams", ())),
                ports=_read(value["ports"], pb.EnvoyPorts()) if value.get("ports") else None,
                said={
                    key_of(service): (item["status"], item["reason"]) for service, item in services
                },
            ),
            addresses=tuple(value["addresses"]),
            owner=value["owner"],
            epoch=value["epoch"],
        )


def _to_json(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def _read(value: dict[str, Any], into: M) -> M:
    return ParseDict(value, into, ignore_unknown_fields=True)


def key_of_report(report: pb.HealthReport) -> DeclarationKey:
    """Tell which declaration a report is about."""
    return report.service, report.namespace, report.workload_port


def services_not_declared(
    registration: Registration, full_names: Mapping[str, str], names: Iterable[str]
) -> tuple[str, ...]:
    """Give those of `names` that the host has neither declared nor registered."""
    own = (*registration.declared, *registration.registered.values())
    known = {name for service in own for name in _names_of(service, full_names)}
    return tuple(name for name in names if name not in known)


def services_named(
    registration: Registration, full_names: Mapping[str, str], names: Iterable[str]
) -> frozenset[DeclarationKey]:
    """Give what is registered under `names`: as the host writes them, full, or with the port.

    `full_names`: name as written -> full host name.
    """
    wanted = frozenset(names)
    return frozenset(
        key
        for key, service in registration.registered.items()
        if wanted & _names_of(service, full_names)
    )


def _names_of(service: pb.ServiceRegistration, full_names: Mapping[str, str]) -> frozenset[str]:
    """Give every name by which a host may mean one of its declarations."""
    plain = {service.service, full_names.get(service.service, service.service)}
    return frozenset({*plain, *(declaration(name, service.workload_port) for name in plain)})
