"""controlplane.yaml, checked and typed; without a file these defaults run."""

from dataclasses import dataclass, field
from typing import Literal

from hostmesh_core import ports
from hostmesh_core.ids import DEFAULT_TRUST_DOMAIN
from hostmesh_core.model import InboundMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """The `listen:` section. Each is `address:port`; IPv6 in brackets."""

    xds: str = f"[::]:{ports.XDS}"
    """xDS and host stream, mutual TLS without exception."""
    enrolment: str = f"[::]:{ports.ENROLMENT}"
    """HTTPS without client certificate."""
    metrics: str = f"127.0.0.1:{ports.CONTROL_PLANE_METRICS}"
    """/metrics, /healthz, /readyz; plain HTTP, so loopback unless configured."""
    api: str = "/run/hostmesh-controlplane/api.sock"
    """The operator API's unix socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticSource:
    """`kind: static`: a directory (or one file) of ServiceEntry and WorkloadEntry documents."""

    name: str
    path: str
    kind: Literal["static"] = "static"
    poll_seconds: float = 1.0
    """How often file times are compared; a change is read at once where the kernel tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsulTls:
    """How a Consul agent is verified, and the client certificate for it."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    server_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsulSource:
    """`kind: consul`: one Consul datacenter, read with blocking queries."""

    name: str
    address: str = "http://127.0.0.1:8500"
    kind: Literal["consul"] = "consul"
    datacenter: str = ""
    """Empty = the agent's own."""
    token_file: str = ""
    """The ACL token is read from a file, never written into the configuration."""
    tls: ConsulTls | None = None
    wait_seconds: float = 240.0
    """Length of a blocking query; Consul adds up to a sixteenth."""
    settle_seconds: float = 5.0
    """How often at most the list of service names is asked for."""
    services: tuple[str, ...] = ("*",)
    """Shell patterns of the Consul services to take."""
    namespace: str = "default"
    host_template: str = "{service}.{namespace}.{mesh_domain}"
    alias_template: str = "{service}.service.consul"
    version_tag: str = "version"
    """`version=v2` as a tag or meta key becomes the label of this name."""
    hold_seconds: float = 30.0
    hold_share: float = 0.3
    hold_count: int = 5
    """A source that loses this share and this many endpoints within `hold_seconds` is held."""
    max_services: int = 5_000
    max_endpoints: int = 50_000
    max_endpoints_per_service: int = 2_000
    """Whoever writes the catalog could fill the mesh: what comes beyond is left out and named."""


Source = StaticSource | ConsulSource


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateAuthority:
    """The `ca:` section: the embedded authority."""

    leaf_hours: float = 72.0
    """Life of host and workload certificates."""
    renew_from: float = 0.4
    renew_to: float = 0.6
    """Renewal is due at this share of the life, jittered between the two."""
    outage_hours: float = 24.0
    """A control-plane outage that must never end a certificate: checked against the three above."""
    clock_skew_seconds: float = 300.0
    """NotBefore lies this far back."""

    def __post_init__(self) -> None:
        """Refuse a renewal plan that cannot survive the wanted outage."""
        left = self.leaf_hours * (1 - self.renew_to)
        if left < self.outage_hours:
            raise ValueError(
                f"cannot use ca: certificates of {self.leaf_hours} h renewed by "
                f"{self.renew_to:.0%} of their life leave {left:.1f} h, less than "
                f"ca.outage_hours {self.outage_hours}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneConfig:
    """All of controlplane.yaml."""

    trust_domain: str = DEFAULT_TRUST_DOMAIN
    listen: Listen = field(default_factory=Listen)
    state_dir: str = "/var/lib/hostmesh-controlplane"
    sources: tuple[Source, ...] = ()
    mtls: InboundMode = InboundMode.PERMISSIVE
    """The mesh-wide inbound mode."""
    ca: CertificateAuthority = field(default_factory=CertificateAuthority)
    vip4_range: str = "240.240.0.0/16"
    vip6_range: str = "fd48:6d65:7368::/64"
    lease_seconds: float = 12.0
    renew_seconds: float = 4.0
    precedence: tuple[str, ...] = ("static", "registered", "nomad", "consul")
    """Kinds of source, the highest first: whose attributes count where they differ."""
