"""What the registrar asks of the host stream and of the identity."""

from collections.abc import Collection, Mapping
from typing import Protocol

from hostmesh_agent.edges.identity_disk import Membership
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.credentials import CertificateSet
from hostmesh_core.grant import Grant
from hostmesh_core.ids import Identity


class HostLink(Protocol):
    """What this asks of the host stream."""

    @property
    def connected(self) -> bool:
        """Whether a stream is up."""

    def register(self, register: pb.Register) -> None:
        """Declare and register everything."""

    def reconnect(self, gone: Collection[str]) -> None:
        """Take that this host has these addresses no more."""

    def report_health(self, report: pb.HealthReport) -> None:
        """Report one service's health."""


class Held(Protocol):
    """What this asks of the identity (`app.identity`)."""

    @property
    def grant(self) -> Grant:
        """Give what this host may claim."""

    @property
    def membership(self) -> Membership:
        """Give which host of which mesh this is."""

    @property
    def bundles(self) -> TrustBundles:
        """Give whom this host trusts."""

    @property
    def workloads(self) -> Mapping[Identity, CertificateSet]:
        """Give the certificates that are held."""
