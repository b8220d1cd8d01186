"""What the registry asks of the rest of the control plane, and what it tells it."""

from collections.abc import Awaitable, Set
from dataclasses import dataclass
from typing import Protocol

from hostmesh_controlplane.app.host_certificates import Issued
from hostmesh_controlplane.app.host_member import ServiceSummary
from hostmesh_controlplane.edges.peer import Peer
from hostmesh_controlplane.logic import refusals
from hostmesh_controlplane.logic.leases import LEASE_SECONDS, RENEW_SECONDS
from hostmesh_controlplane.logic.own_listeners import OwnListeners
from hostmesh_controlplane.logic.registry import Inbound
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.grant import Grant
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId
from hostmesh_core.model import InboundMode, RegisteredInstance


class HostTerms(Protocol):
    """What the registry reads of a host's record (`logic.host_record.HostRecord`)."""

    @property
    def grant(self) -> Grant:
        """What the host may claim."""

    @property
    def revoked(self) -> bool:
        """Whether it may never come back."""


class Authorities(Protocol):
    """Who the hosts are, and who signs for them (`app.authority.Authority`)."""

    def host(self, host_id: str) -> HostTerms | None:
        """Give the record of a host that joined."""

    async def issue(
        self, host_id: str, csr_der: bytes, identity: Identity | None
    ) -> Issued | refusals.Refusal:
        """Sign; identity None is the host's own certificate."""


Done = Awaitable[object] | None
"""None = taken in already."""


class HostMesh(Protocol):
    """The rest of the control plane, as the registry sees it. Called in the event loop.

    `on_…` take what the registry tells; an awaitable that they give delays the host's Verdict.
    """

    def catalogued(self, service: str) -> Set[EndpointKey]:
        """Give the keys that catalogs list for a service's host name."""

    def accepted_ids(self, service: str) -> Set[SpiffeId]:
        """Give the SPIFFE ids that the service's configuration names."""

    def summary(self, service: str) -> ServiceSummary:
        """Give state, meshed endpoints and all endpoints."""

    def inbound_mode(self, service: str, declared: InboundMode | None) -> InboundMode:
        """Give what a host's Envoy accepts for a service; `declared` is the host's own word."""

    def on_instances(
        self,
        host_id: str,
        instances: tuple[RegisteredInstance, ...],
        withdrawn: tuple[RegisteredInstance, ...] = (),
    ) -> Done:
        """Take the complete registration of a host; none = it left in order.

        `withdrawn`: what it still registers and may no more: out, whatever catalogs say.
        """

    def on_lease_ended(self, host_id: str, instances: tuple[RegisteredInstance, ...]) -> Done:
        """Take that a host is silent or revoked: these are out, whatever catalogs say."""

    def on_inbound(
        self,
        host_id: str,
        inbound: tuple[Inbound, ...],
        outbound: tuple[tuple[int, Identity], ...],
        own: OwnListeners,
    ) -> None:
        """Take what the host's own Envoy is to serve and bind, and who speaks by which port."""

    def on_said(self, host_id: str) -> None:
        """Take that it is known what a host serves, nothing included: its proxy may be answered."""

    def upstream_notes(self, host_id: str) -> tuple[str, ...]:
        """Give a sentence for each upstream of the host whose service is not there."""

    def on_applied(self, host_id: str, applied: pb.Applied) -> None:
        """Take that its Envoy applied a version."""

    def on_rejected(self, host_id: str, rejected: pb.Rejected) -> None:
        """Take that its Envoy refused a resource."""

    def on_use(self, host_id: str, names: tuple[str, ...]) -> None:
        """Take which names the host uses."""

    def on_callers(self, host_id: str, callers: pb.Callers) -> None:
        """Take who calls the host's services, by its Envoy's counters."""

    def on_connected(self, host_id: str, peer: Peer, hello: pb.Hello) -> None:
        """Take that the host's stream is up, or a newer one is."""

    def on_disconnected(self, host_id: str) -> None:
        """Take that the host has no stream left; its lease runs on."""

    def follows(self, host_id: str) -> bool:
        """Whether a proxy of the host follows the mesh now: then the host is not forgotten."""

    def forget(self, host_id: str) -> None:
        """Drop all that is known of a host that has neither stream nor lease."""

    async def drained(self, host_id: str, instances: tuple[RegisteredInstance, ...]) -> bool:
        """Wait until every subscriber has applied that these are gone; False = not all did."""


class Clock(Protocol):
    """What this asks of a clock."""

    def monotonic(self) -> float:
        """Give seconds that never jump."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Entropy(Protocol):
    """What this asks of randomness."""

    def hex(self, bits: int) -> str:
        """Give random bits in hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsConfig:
    """Times and ranges of the registry."""

    trust_domain: str
    lease_seconds: float = LEASE_SECONDS
    renew_seconds: float = RENEW_SECONDS
    drain_seconds: float = 30.0
    """How long a leaving host waits at most for the subscribers."""
    virtual_ranges: tuple[str, ...] = ()
    """CIDRs that no host can have an address in."""
