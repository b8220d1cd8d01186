"""What a host may claim (DESIGN 6): from its token, changed by `hostmesh host grant`."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from hostmesh_core.ids import Identity
from hostmesh_core.model import Labels


class Role(StrEnum):
    """What the host's proxy is."""

    SIDECAR = "sidecar"
    GATEWAY = "gateway"


class Kind(StrEnum):
    """What kind of xDS client the record is for."""

    AGENT = "agent"
    ENVOY = "envoy"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """One entitlement. Each field is an exact name or a shell pattern (`pay*`); never a regex.

    An empty `service` is a pure client's claim: the identity, and no registration.
    """

    namespace: str
    service_account: str
    service: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether no field is a pattern: only such claims widen what clients accept."""
        return not any(set(text) & set("*?[") for text in (self.namespace, self.service_account))


@dataclass(frozen=True, slots=True)
class Grant:
    """All that one host may claim."""

    claims: tuple[Claim, ...] = ()
    cidrs: tuple[str, ...] = ()
    """Addresses beside the stream's own peer address that the host may register."""
    labels: Labels = ()
    role: Role = Role.SIDECAR
    require_mesh: bool = False

    def allows_identity(self, identity: Identity) -> bool:
        """Whether the host may hold a certificate of this identity."""
        return any(
            fnmatchcase(identity.namespace, claim.namespace)
            and fnmatchcase(identity.service_account, claim.service_account)
            for claim in self.claims
        )

    def allows_service(self, identity: Identity, service: str) -> bool:
        """Whether the host may register `service` (its short name) under this identity."""
        return any(
            claim.service != ""
            and fnmatchcase(identity.namespace, claim.namespace)
            and fnmatchcase(identity.service_account, claim.service_account)
            and fnmatchcase(service, claim.service)
            for claim in self.claims
        )

    def allows_address(self, address: str) -> bool:
        """Whether `address` lies in the granted CIDRs; the stream's peer needs no grant."""
        ip = ipaddress.ip_address(address)
        networks = (ipaddress.ip_network(cidr) for cidr in self.cidrs)
        return any(ip.version == network.version and ip in network for network in networks)

    def default_identity(self) -> Identity | None:
        """The one exact identity of the grant, or None where there are several or patterns."""
        exact = {Identity(c.namespace, c.service_account) for c in self.claims if c.is_exact}
        return exact.pop() if len(exact) == 1 else None

    def to_json(self) -> dict[str, object]:
        """Give the stored and wire form."""
        return {
            "claims": [
                {
                    "namespace": claim.namespace,
                    "service_account": claim.service_account,
                    "service": claim.service,
                }
                for claim in self.claims
            ],
            "cidrs": list(self.cidrs),
            "labels": dict(self.labels),
            "role": self.role.value,
            "require_mesh": self.require_mesh,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> "Grant":
        """Read the stored form, which only this class writes."""
        claims, cidrs, labels = value["claims"], value["cidrs"], value["labels"]
        if not (isinstance(claims, list) and isinstance(cidrs, list) and isinstance(labels, dict)):
            raise RuntimeError(f"stored grant is damaged: {sorted(value)}")
        return cls(
            claims=tuple(
                Claim(claim["namespace"], claim["service_account"], claim["service"])
                for claim in claims
            ),
            cidrs=tuple(cidrs),
            labels=tuple(sorted(labels.items())),
            role=Role(str(value["role"])),
            require_mesh=bool(value["require_mesh"]),
        )
