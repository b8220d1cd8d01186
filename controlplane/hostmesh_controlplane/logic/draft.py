"""One service in the making: what is known of its host name, by which rules, and what came of it.

`unite` fills the draft, `registered_endpoints` its part of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hostmesh_controlplane.logic import weights
from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService
from hostmesh_controlplane.logic.catalog_health import Place, Word
from hostmesh_controlplane.logic.service_ports import Ports
from hostmesh_controlplane.logic.service_state import ServiceRecord
from hostmesh_controlplane.logic.vips import VipRecord
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId
from hostmesh_core.model import (
    Endpoint,
    Health,
    Locality,
    Origin,
    RegisteredInstance,
    Withheld,
)

Listed = list[tuple[str, CatalogEndpoint]]
"""What catalogs say of one endpoint, by precedence."""

Groups = dict[EndpointKey, dict[int, Listed]]
"""What catalogs say, by key and service port."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What merging depends on beside its inputs: fixed while the control plane runs."""

    trust_domain: str
    mesh_domain: str
    sources: tuple[tuple[str, str], ...] = ()
    """Name and kind of every configured source, in the order of the configuration."""
    precedence: tuple[str, ...] = ("static", "registered", "nomad", "consul")

    def rank(self, source: str) -> tuple[int, int, str]:
        """Give the sort key of a source: the smallest has the highest precedence."""
        kinds = [kind for name, kind in self.sources if name == source]
        kind = kinds[0] if kinds else source
        names = [name for name, _ in self.sources]
        place = names.index(source) if source in names else len(names)
        order = self.precedence.index(kind) if kind in self.precedence else len(self.precedence)
        return order, place, source

    def kind(self, source: str) -> str:
        """Give the kind of a source; empty for an unknown one."""
        return next((kind for name, kind in self.sources if name == source), "")


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that is known of one host name."""

    listings: tuple[tuple[str, CatalogService], ...] = ()
    """By precedence."""
    instances: tuple[RegisteredInstance, ...] = ()
    """Live registrations, by host and port."""
    record: ServiceRecord = ServiceRecord()  # noqa: RUF009 (frozen value)
    vip: VipRecord | None = None
    accounts: tuple[Identity, ...] = ()
    """From exact grants that name the service exactly."""
    refusing: frozenset[EndpointKey] = frozenset()
    """Endpoints that refuse connections, by vote: matters for held ones alone."""
    owned: tuple[tuple[EndpointKey, str], ...] = ()
    """Keys of this service that a live registration of another service owns."""
    lost_aliases: tuple[tuple[str, str], ...] = ()
    """Aliases that its catalogs claim, and the service that has them."""

    @property
    def empty(self) -> bool:
        """Whether nobody lists or registers it, and nothing of it is kept."""
        return not (self.listings or self.instances or self.record.kept)


@dataclass(slots=True)
class Draft:
    """The service in the making: the only mutable value here, and it never leaves."""

    rules: Rules
    inputs: Inputs
    namespace: str
    ports: Ports
    accepted: tuple[SpiffeId, ...]
    owned: Mapping[EndpointKey, str]
    """The inputs' `owned`, to look a key up in."""
    endpoints: list[Endpoint] = field(default_factory=list)
    withheld: list[Withheld] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    unaccepted: dict[EndpointKey, str] = field(default_factory=dict)
    """Every key of a registration that does not count, and why it does not."""
    words: dict[Place, Word] = field(default_factory=dict)
    """What host and catalogs say of each registered instance's health."""


def united(draft: Draft, key: EndpointKey, port: int, listed: Listed) -> Endpoint:
    """Unite what is said of one key on one port of the service; note in the draft what differs."""
    said = [endpoint for _, endpoint in listed]
    trusted = frozenset(s for s, _ in listed if draft.rules.kind(s) in ("static", ""))
    limit = draft.inputs.record.weight_limit
    weight, sentences = weights.settled(key, listed, limit=limit, unlimited=trusted)
    draft.conflicts += sentences
    labels: dict[str, str] = {}
    for endpoint in reversed(said):
        labels.update(endpoint.labels)
    unwell = [(s, e) for s, e in listed if e.health is not Health.HEALTHY]
    return Endpoint(
        key=key,
        service_port=port,
        workload_port=key.port,
        locality=next((e.locality for e in said if e.locality != Locality()), Locality()),
        datacenter=next((e.datacenter for e in said if e.datacenter), ""),
        weight=weight,
        health=Health.worst(*(e.health for e in said)),
        reasons=tuple(f"{source}: {e.reason or e.health}" for source, e in unwell),
        labels=tuple(sorted(labels.items())),
        sources=tuple(dict.fromkeys(source for source, _ in listed)),
        held=all(e.held for e in said),
        origins=tuple((source, e.origin) for source, e in listed if e.origin != Origin()),
    )
