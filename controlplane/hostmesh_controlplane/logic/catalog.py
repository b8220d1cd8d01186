"""What every catalog is read into before merging (DESIGN 5): `Source -> Snapshot`."""

from dataclasses import dataclass, field

from hostmesh_core.ids import EndpointKey, SpiffeId
from hostmesh_core.model import Health, Labels, Locality, Origin, Port, Protocol


@dataclass(frozen=True, slots=True)
class CatalogEndpoint:
    """One instance as one catalog lists it. It states no identity: catalogs cannot."""

    key: EndpointKey
    port_name: str = ""
    """Which of the service's ports it serves; empty = the only one (or all, by number)."""
    service_port: int = 0
    """The service port it serves where the catalog knows; 0 = the service's only port."""
    health: Health = Health.HEALTHY
    reason: str = ""
    weight: int = 1
    labels: Labels = ()
    locality: Locality = Locality()  # noqa: RUF009 (frozen value)
    datacenter: str = ""
    held: bool = False
    """Its source lists it no more, but may be telling less than the truth (`logic/holds`)."""
    origin: Origin = Origin()  # noqa: RUF009 (frozen value)
    unwell_since: float = field(default=0.0, compare=False)
    """Wall clock, since when this catalog says that it is not healthy; 0 = it does not."""


@dataclass(frozen=True, slots=True)
class CatalogService:
    """One service as one catalog lists it."""

    host: str
    """Fully qualified host name."""
    namespace: str
    ports: tuple[Port, ...] = ()
    """Empty where the catalog knows only instances (Consul)."""
    aliases: tuple[str, ...] = ()
    short_name: str = ""
    subject_alt_names: tuple[SpiffeId, ...] = ()
    require_mesh: bool = False
    endpoints: tuple[CatalogEndpoint, ...] = ()
    stated_protocol: Protocol | None = None
    """The protocol of ports that this catalog does not number (Consul meta `protocol`)."""
    problems: tuple[str, ...] = ()
    """Sentences: what this catalog says of the service and cannot be used."""
    origin: str = ""
    """Where it is written: `file:line` or `consul dc1`; for messages."""


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """One service of one source changed. `service` None = the source lists it no more."""

    source: str
    host: str
    service: CatalogService | None
    suspicious: str = ""
    """Why a shrink in this very change must be held (unchanged index, no leader, filtered by
    ACLs, empty sentinel); empty = nothing suspicious."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source is, apart from what it lists."""

    source: str
    kind: str
    healthy: bool
    detail: str = ""
    """A sentence: stale since, unreachable, token cannot read …"""
    synced: bool = False
    """It has answered completely at least once since the start, or its stored view is loaded."""
    held: int = 0
    """How many endpoints are kept although the source lists them no more."""


SourceEvent = SourceChanged | SourceStatus
"""What a catalog edge puts on the app's queue."""
