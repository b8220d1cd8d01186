"""One service from all that is known of its host name (DESIGN 5): a function of `Inputs` alone.

Endpoints are united by key; attributes come from the source of the highest precedence; health is
the worst of all; what differs is said in a sentence and never silent. `merge` keeps the inputs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hostmesh_controlplane.logic import catalog_health, identities, service_ports, weights
from hostmesh_controlplane.logic.catalog import CatalogEndpoint, CatalogService
from hostmesh_controlplane.logic.catalog_health import Place, Word
from hostmesh_controlplane.logic.service_ports import REGISTERED, Ports
from hostmesh_controlplane.logic.service_state import ServiceRecord
from hostmesh_controlplane.logic.vips import VipRecord
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId
from hostmesh_core.model import (
    Endpoint,
    Health,
    Labels,
    Locality,
    Origin,
    RegisteredInstance,
    Service,
    ServiceState,
    Withheld,
)


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
class _Draft:
    """The service in the making: the only mutable value here, and it never leaves."""

    rules: Rules
    inputs: Inputs
    namespace: str
    ports: Ports
    accepted: tuple[SpiffeId, ...]
    endpoints: list[Endpoint] = field(default_factory=list)
    withheld: list[Withheld] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    words: dict[Place, Word] = field(default_factory=dict)
    """What host and catalogs say of each registered instance's health."""


SHOWN_CONFLICTS = 50

Listed = list[tuple[str, CatalogEndpoint]]
"""What catalogs say of one endpoint, by precedence."""

Groups = dict[EndpointKey, dict[int, Listed]]
"""What catalogs say, by key and service port."""


def unite(host: str, inputs: Inputs, rules: Rules) -> Service | None:
    """Give the service, or None where nobody lists or registers it."""
    if inputs.empty:
        return None
    draft = _draft(host, inputs, rules)
    groups = _grouped(draft)
    live = _live(draft)
    _add_registered(draft, live, groups)
    for key in sorted(groups):
        for port, listed in sorted(groups[key].items()):
            _add_unmeshed(draft, key, port, listed)
    _drop_refusing(draft)
    endpoints, said = catalog_health.bounded(
        draft.endpoints, draft.words, mesh=inputs.record.state is ServiceState.MESH
    )
    draft.conflicts += said
    first = inputs.listings[0][1] if inputs.listings else None
    short = identities.short_name(host, draft.namespace, mesh_domain=rules.mesh_domain)
    return Service(
        host=host,
        namespace=draft.namespace,
        ports=draft.ports.ports,
        vip4=inputs.vip.vip4 if inputs.vip else "",
        vip6=inputs.vip.vip6 if inputs.vip else "",
        aliases=_aliases(host, inputs),
        short_name=(first.short_name if first else "") or short,
        state=inputs.record.state,
        inbound=inputs.record.inbound,
        identities=draft.accepted,
        endpoints=tuple(sorted(endpoints, key=lambda e: (e.key, e.service_port))),
        withheld=tuple(sorted(draft.withheld, key=lambda w: (w.key, w.source, w.reason))),
        sources=_sources(rules, [s for s, _ in inputs.listings], registered=bool(live)),
        conflicts=_some(dict.fromkeys([*draft.conflicts, *draft.ports.conflicts])),
    )


def accepted_identities(host: str, inputs: Inputs, rules: Rules) -> tuple[SpiffeId, ...]:
    """Give the ids that clients accept for the service. Only static documents may state one."""
    namespace = _namespace(inputs)
    stated = (
        spiffe_id
        for source, listing in inputs.listings
        if rules.kind(source) == "static"
        for spiffe_id in listing.subject_alt_names
    )
    return identities.accepted(
        identities.short_name(host, namespace, mesh_domain=rules.mesh_domain),
        namespace,
        trust_domain=rules.trust_domain,
        accounts=inputs.accounts,
        stated=stated,
    )


def registered_rank(inputs: Inputs, rules: Rules) -> int:
    """Give where registrations stand among the listings: how many catalogs go before them."""
    own = rules.rank(REGISTERED)
    return sum(1 for source, _ in inputs.listings if rules.rank(source) < own)


def instance_keys(instance: RegisteredInstance) -> frozenset[EndpointKey]:
    """Give every key under which a catalog may list this very instance: per address where peers
    connect, and the app's own port.
    """
    apps = (replace(key, port=instance.workload_port) for key in instance.keys)
    return frozenset({*instance.keys, *apps})


def _draft(host: str, inputs: Inputs, rules: Rules) -> _Draft:
    ports = service_ports.settle(
        inputs.listings,
        inputs.instances,
        stored=inputs.vip.port if inputs.vip else 0,
        registered_rank=registered_rank(inputs, rules),
    )
    kept = inputs.record.kept
    if not ports.ports and kept:
        ports = replace(ports, ports=kept.ports)
    namespace = _namespace(inputs)
    draft = _Draft(rules, inputs, namespace, ports, accepted_identities(host, inputs, rules))
    for source, listing in inputs.listings:
        draft.conflicts += [f"{source}: {problem}" for problem in listing.problems]
        if listing.namespace != namespace:
            draft.conflicts.append(
                f"its namespace is {namespace}; {source} says {listing.namespace}"
            )
    draft.conflicts += [f"the name {name} leads to {to}" for name, to in inputs.lost_aliases]
    return draft


def _namespace(inputs: Inputs) -> str:
    if inputs.listings:
        return inputs.listings[0][1].namespace
    if inputs.instances:
        return inputs.instances[0].namespace
    return inputs.record.kept.namespace if inputs.record.kept else ""


def _aliases(host: str, inputs: Inputs) -> tuple[str, ...]:
    found = dict.fromkeys(alias for _, listing in inputs.listings for alias in listing.aliases)
    lost = dict(inputs.lost_aliases)
    return tuple(alias for alias in found if alias != host and alias not in lost)


def _sources(rules: Rules, listed: Iterable[str], *, registered: bool) -> tuple[str, ...]:
    named = {*listed, REGISTERED} if registered else {*listed}
    return tuple(sorted(named, key=rules.rank))


def _grouped(draft: _Draft) -> Groups:
    """Unite what catalogs list by key and service port; put aside what cannot be used."""
    groups: Groups = {}
    owned = dict(draft.inputs.owned)
    for source, listing in draft.inputs.listings:
        for endpoint in listing.endpoints:
            port = service_ports.served(endpoint, draft.ports)
            reason = _unusable(endpoint, port=port, owner=owned.get(endpoint.key, ""))
            if reason:
                draft.withheld.append(Withheld(endpoint.key, source, reason, endpoint.origin))
            else:
                of_key = groups.setdefault(endpoint.key, {})
                of_key.setdefault(port, []).append((source, endpoint))
    return groups


def _unusable(endpoint: CatalogEndpoint, *, port: int, owner: str) -> str:
    if owner:
        return f"{endpoint.key} is registered by {owner}: a registered key belongs to its service"
    if not port:
        return (
            f"cannot tell which port of the service {endpoint.key} serves: state service_port in "
            "its catalog"
        )
    return ""


def _live(draft: _Draft) -> list[RegisteredInstance]:
    """Give the registrations that count, one per (service port, key): of two hosts that register
    one key the later one in the inputs counts.
    """
    owned = dict(draft.inputs.owned)
    live: dict[tuple[int, EndpointKey], RegisteredInstance] = {}
    for instance in draft.inputs.instances:
        key = instance.keys[0]
        if key in owned:
            reason = f"{key} is registered by {owned[key]} already"
        elif instance.identity not in draft.accepted:
            ids = ", ".join(map(str, draft.accepted)) or "none"
            reason = f"it runs as {instance.identity}; clients of this service accept {ids}"
        else:
            live[(instance.port.number, key)] = instance
            continue
        draft.withheld.append(Withheld(key, REGISTERED, reason))
    return list(live.values())


def _add_registered(draft: _Draft, live: list[RegisteredInstance], groups: Groups) -> None:
    """Add the live instances. Each replaces what catalogs list of it, on every port of the
    service, but those for which its host registered the same key too: they are that one's.
    """
    own: dict[EndpointKey, set[int]] = {}
    for instance in live:
        own.setdefault(instance.keys[0], set()).add(instance.port.number)
    done: set[tuple[int, EndpointKey]] = set()
    for instance in live:
        first, number = instance.keys[0], instance.port.number
        by_port: dict[int, Listed] = {number: []}
        for key in sorted(instance_keys(instance)):
            for port in list(groups.get(key, ())):
                if port == number or port not in own[first]:
                    by_port.setdefault(port, []).extend(groups[key].pop(port))
        for port, listed in sorted(by_port.items()):
            if (port, first) not in done:
                done.add((port, first))
                listed.sort(key=lambda one: draft.rules.rank(one[0]))
                draft.endpoints.append(_registered(draft, instance, port=port, listed=listed))


def _registered(
    draft: _Draft, instance: RegisteredInstance, *, port: int, listed: Listed
) -> Endpoint:
    """Unite an instance with its catalog entries. Identity and labels are its own alone."""
    rules = draft.rules
    own = CatalogEndpoint(
        key=instance.keys[0],
        weight=instance.weight,
        locality=instance.locality,
        labels=instance.labels,
    )
    said: Listed = sorted([*listed, (REGISTERED, own)], key=lambda one: rules.rank(one[0]))
    endpoint = _united(draft, own.key, port, said)
    for source, other in listed:
        if other.labels and other.labels != instance.labels:
            draft.conflicts.append(
                f"{own.key} has the labels of its registration ({_text(instance.labels)}); "
                f"{source} says {_text(other.labels)}"
            )
    since = min((e.unwell_since for _, e in listed if e.unwell_since), default=0.0)
    draft.words[port, own.key] = Word(instance.health, endpoint.health, since)
    return replace(
        endpoint,
        workload_port=instance.workload_port,
        additional=tuple(k for k in instance.keys[1:] if k not in dict(draft.inputs.owned)),
        health=Health.worst(instance.health, endpoint.health),
        reasons=tuple(
            dict.fromkeys([*(f"{REGISTERED}: {r}" for r in instance.reasons), *endpoint.reasons])
        ),
        identity=instance.identity,
        host_id=instance.host_id,
        labels=instance.labels,
        held=False,
    )


def _add_unmeshed(draft: _Draft, key: EndpointKey, port: int, listed: Listed) -> None:
    record = draft.inputs.record
    reason = ""
    if key in record.ended:
        reason = (
            "its host's lease or grant ended, or it has another address: out until a host "
            "registers it again, its catalogs drop it, or `hostmesh service release`"
        )
    elif record.state is ServiceState.MIXED and not record.admits_unmeshed(key.address):
        reason = "not meshed, and outside the networks that allow-unmeshed admits"
    if reason:
        draft.withheld += [Withheld(key, source, reason, e.origin) for source, e in listed]
    else:
        draft.endpoints.append(_united(draft, key, port, listed))


def _united(draft: _Draft, key: EndpointKey, port: int, listed: Listed) -> Endpoint:
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


def _drop_refusing(draft: _Draft) -> None:
    """Withhold held endpoints that refuse connections, while another healthy one is left."""
    refusing = draft.inputs.refusing
    dead = [e for e in draft.endpoints if e.held and e.key in refusing]
    if not dead:
        return
    meshed_only = draft.inputs.record.state is ServiceState.MESH
    others = [
        e
        for e in draft.endpoints
        if e not in dead and e.health is not Health.UNHEALTHY and (e.meshed or not meshed_only)
    ]
    if not others:
        return
    for endpoint in dead:
        draft.endpoints.remove(endpoint)
        reason = "held, and it refuses connections while others answer"
        origins = dict(endpoint.origins)
        draft.withheld += [
            Withheld(endpoint.key, s, reason, origins.get(s, Origin())) for s in endpoint.sources
        ]


def _some(sentences: Iterable[str]) -> tuple[str, ...]:
    """Give the first ones, and how many more there are: a catalog's writer can make thousands."""
    found = tuple(sentences)
    more = len(found) - SHOWN_CONFLICTS
    return (*found[:SHOWN_CONFLICTS], f"and {more} more") if more > 0 else found


def _text(labels: Labels) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels) or "none"
