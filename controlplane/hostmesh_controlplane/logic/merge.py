"""The mesh from every catalog and registration (DESIGN 5): one function per input.

Each takes the state and an input and gives a `Step`: the new state, the services that truly
changed, and what the caller has to store or to allocate. An input costs what it touches: the
service it names, and services that list a key which it takes or frees. A host name without a
virtual address is not in the mesh yet: `Step.wanted` asks for one, `set_vip` brings it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from immutables import Map

from hostmesh_controlplane.logic import visibility, weights
from hostmesh_controlplane.logic.catalog import SourceChanged, SourceStatus
from hostmesh_controlplane.logic.draft import Inputs, Rules
from hostmesh_controlplane.logic.key_index import (
    Claims,
    Listed,
    by_arrival,
    keys_of,
    moved,
    owner,
    reclaimed,
    relisted,
)
from hostmesh_controlplane.logic.registered_endpoints import instance_keys
from hostmesh_controlplane.logic.service_ports import first_seen
from hostmesh_controlplane.logic.service_state import (
    KeptService,
    Mark,
    ServiceRecord,
    born,
    why_born,
)
from hostmesh_controlplane.logic.unite import accepted_identities, unite
from hostmesh_controlplane.logic.vips import VipRecord, WantedVip
from hostmesh_controlplane.logic.visibility import AliasClaims
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId
from hostmesh_core.model import MeshChange, RegisteredInstance, Service, ServiceState


@dataclass(frozen=True, slots=True)
class MergeState:
    """Everything that the mesh is made of. Persistent maps: a new state shares the rest."""

    rules: Rules
    inputs: Map[str, Inputs] = field(default_factory=Map)
    """By host name."""
    services: Map[str, Service] = field(default_factory=Map)
    """The mesh: what the views are rendered from."""
    instances: Map[str, tuple[RegisteredInstance, ...]] = field(default_factory=Map)
    """By host id, in the order of the registration."""
    claims: Claims = field(default_factory=Map)
    """Who registered a key, the first one first: its service owns the key."""
    listed: Listed = field(default_factory=Map)
    """Which services' catalogs list a key: whom an owner's coming and going touches."""
    aliases: AliasClaims = field(default_factory=Map)
    """Which services claim a further name."""
    standings: Map[str, SourceStatus] = field(default_factory=Map)
    """By source; one that never spoke is absent."""
    now: float = 0.0
    """When the input at hand is taken in (seconds since the epoch): it marks what that sets."""

    @property
    def sources_heard(self) -> bool:
        """Whether every source is there and has told all that it lists."""
        standings = [self.standings.get(name) for name, _ in self.rules.sources]
        return all(s is not None and s.healthy and s.synced for s in standings)

    @property
    def sources_certain(self) -> bool:
        """Whether "no catalog lists it" can be believed: all healthy, synced, holding nothing."""
        return self.sources_heard and not any(s.held for s in self.standings.values())

    def record(self, host: str) -> ServiceRecord:
        """Give the stored part of a service."""
        return self.inputs.get(host, Inputs()).record

    def accepted(self, host: str) -> tuple[SpiffeId, ...]:
        """Give the SPIFFE ids that clients accept for a host name, known or not."""
        return accepted_identities(host, self.inputs.get(host, Inputs()), self.rules)


@dataclass(frozen=True, slots=True)
class Step:
    """What one input came to."""

    state: MergeState
    changes: tuple[MeshChange, ...] = ()
    records: tuple[tuple[str, ServiceRecord], ...] = ()
    """Host names whose record changed: to be stored in Table.SERVICES."""
    wanted: tuple[WantedVip, ...] = ()
    """Host names that need a virtual address, or a port in the record that they have. Asked for
    with every input that touches them until `set_vip` brings it."""


def start(rules: Rules) -> MergeState:
    """Give the empty mesh."""
    return MergeState(rules)


def source_changed(state: MergeState, event: SourceChanged) -> Step:
    """Take in one service of one catalog."""
    before = state.inputs.get(event.host, Inputs())
    known = dict(before.listings)
    if known.get(event.source) == event.service:
        return Step(state)
    known.pop(event.source, None)
    if event.service is not None:
        known[event.source] = event.service
    listings = tuple(sorted(known.items(), key=lambda one: state.rules.rank(one[0])))
    # A key of which nothing was heard yet since the start may still be listed by a source to come.
    judged = None if state.sources_certain else keys_of(before.listings)
    record = _without_unlisted(before.record, keys_of(listings), judged)
    after = replace(before, listings=listings, record=record)
    turn = {"before": before.listings, "after": listings}
    aliases, rivals = visibility.reclaimed(state.aliases, event.host, **turn, rank=state.rules.rank)
    listed = relisted(state.listed, event.host, **turn)
    indexed = replace(state, listed=listed, aliases=aliases)
    return _settled(state, indexed, {event.host: after}, hosts=rivals)


def source_status(state: MergeState, event: SourceStatus) -> Step:
    """Take in how a source is: decides only whether a newly registered service is born mesh."""
    return Step(replace(state, standings=state.standings.set(event.source, event)))


def register(
    state: MergeState,
    host_id: str,
    instances: Iterable[RegisteredInstance],
    *,
    withdrawn: Iterable[RegisteredInstance] = (),
) -> Step:
    """Take in the complete registration of a host; none = it left in order.

    What left in order is reached as its catalogs say again. What was `withdrawn` from the host,
    and what fell silent (`lease_ended`), is not; nor is the address that an instance had before:
    a catalog lists it still, and would make two endpoints of one instance, one in plaintext.
    """
    new = tuple(dict.fromkeys(instances))
    old = state.instances.get(host_id, ())
    if new == old:
        return Step(state)
    touched = _instances_changed(state, host_id, new)
    for host in {instance.service for instance in new}:
        mine = [instance for instance in new if instance.service == host]
        inputs = touched.inputs.get(host, Inputs())
        record = _registered_record(touched, inputs, mine)
        touched = _with_inputs(touched, host, replace(inputs, record=record))
    for host in {i.service for i in old} - {i.service for i in new}:
        inputs = touched.inputs[host]
        record = replace(inputs.record, kept=None)
        touched = _with_inputs(touched, host, replace(inputs, record=record))
    for instance in (*withdrawn, *moved(old, new)):
        touched = _out(state, touched, instance)
    return _settled(state, touched, {}, hosts=_affected(state, old, new))


def lease_ended(state: MergeState, host_id: str) -> Step:
    """Take in a host's silence: each (service, key) of it is out, whatever catalogs say."""
    old = state.instances.get(host_id, ())
    touched = _instances_changed(state, host_id, ())
    for instance in old:
        touched = _out(state, touched, instance)
    return _settled(state, touched, {}, hosts=_affected(state, old, ()))


def _out(before: MergeState, state: MergeState, instance: RegisteredInstance) -> MergeState:
    """Note that an instance is out, whatever catalogs say of it."""
    inputs = state.inputs[instance.service]
    still = {key for other in inputs.instances for key in instance_keys(other)}
    ended = (instance_keys(instance) & keys_of(inputs.listings)) - still
    record = replace(
        inputs.record,
        ended=tuple(sorted({*inputs.record.ended, *ended})),
        kept=_kept(before, instance.service, inputs),
    )
    return _with_inputs(state, instance.service, replace(inputs, record=record))


def set_record(state: MergeState, host: str, record: ServiceRecord) -> Step:
    """Take in what is stored of a service already, at start."""
    step = change_record(state, host, record)
    return replace(step, records=tuple(r for r in step.records if r != (host, record)))


def change_record(state: MergeState, host: str, record: ServiceRecord) -> Step:
    """Take in what an operator decided of a service: it is to be stored."""
    inputs = state.inputs.get(host, Inputs())
    return _settled(state, state, {host: replace(inputs, record=record)})


def set_vip(state: MergeState, host: str, vip: VipRecord) -> Step:
    """Take in the virtual address that a host name was given."""
    inputs = state.inputs.get(host, Inputs())
    return _settled(state, state, {host: replace(inputs, vip=vip)})


def set_accounts(state: MergeState, accounts: Mapping[str, tuple[Identity, ...]]) -> Step:
    """Take in the accounts of these services (`identities.AccountBook`); no others are touched."""
    changed = {
        host: replace(state.inputs.get(host, Inputs()), accounts=named)
        for host, named in accounts.items()
    }
    return _settled(state, state, changed)


def set_refusing(state: MergeState, host: str, key: EndpointKey, *, refuses: bool) -> Step:
    """Take in that an endpoint refuses connections, or answers again, by outlier votes or probes.

    It matters while the endpoint is held: then it is out as long as another healthy one is left.
    """
    inputs = state.inputs.get(host, Inputs())
    refusing = inputs.refusing | {key} if refuses else inputs.refusing - {key}
    return _settled(state, state, {host: replace(inputs, refusing=refusing)})


def contested(state: MergeState, host_id: str) -> dict[EndpointKey, str]:
    """Give the keys of a host's registration that another service owns, with that service."""
    claims = [(k, i.service) for i in state.instances.get(host_id, ()) for k in i.keys]
    owners = ((key, service, owner(state.claims, key)) for key, service in claims)
    return {key: other for key, service, other in owners if other != service}


def _without_unlisted(
    record: ServiceRecord, listed: frozenset[EndpointKey], judged: frozenset[EndpointKey] | None
) -> ServiceRecord:
    """Forget ended keys that no catalog lists any more: of those in `judged`, None = of all."""
    ended = (k for k in record.ended if k in listed or not (judged is None or k in judged))
    return replace(record, ended=tuple(ended))


def _limited(state: MergeState, inputs: Inputs) -> Inputs:
    """Settle what catalogs' weights count up to, once all of them have spoken."""
    record = inputs.record
    known = record.weight_limit or record.state is ServiceState.PLAIN
    if known or inputs.empty or not state.sources_heard:
        return inputs
    limit = weights.largest(inputs.listings, inputs.instances)
    return replace(inputs, record=replace(record, weight_limit=limit))


def _as_demanded(state: MergeState, inputs: Inputs) -> Inputs:
    """Raise the state where a static document demands mesh."""
    if inputs.record.state is ServiceState.MESH:
        return inputs
    of_kind = ((state.rules.kind(source), listing) for source, listing in inputs.listings)
    demands = [one.origin for kind, one in of_kind if kind == "static" and one.require_mesh]
    if not demands:
        return inputs
    mark = Mark(state.now, f"{demands[0]}: hostmesh.io/require-mesh")
    record = replace(inputs.record, state=ServiceState.MESH, state_set=mark)
    return replace(inputs, record=record)


def _registered_record(
    state: MergeState, inputs: Inputs, mine: list[RegisteredInstance]
) -> ServiceRecord:
    record = inputs.record
    if record.state is ServiceState.PLAIN:
        circumstances = {
            "required": any(instance.require_mesh for instance in mine),
            "listed": bool(inputs.listings),
            "sources_certain": state.sources_certain,
        }
        why = why_born(**circumstances)
        mark = Mark(state.now, f"the first registration, of host {mine[0].host_id}: {why}")
        record = replace(record, state=born(**circumstances), state_set=mark)
    live = {key for instance in mine for key in instance_keys(instance)}
    ended = tuple(key for key in record.ended if key not in live)
    return replace(record, ended=ended, kept=None)


def _kept(state: MergeState, host: str, inputs: Inputs) -> KeptService | None:
    """Give what to keep of a service that would be gone: its clients shall get 503, not a hole."""
    service = state.services.get(host)
    if inputs.listings or inputs.instances or service is None:
        return None
    return KeptService(service.namespace, service.ports)


def _instances_changed(
    state: MergeState, host_id: str, new: tuple[RegisteredInstance, ...]
) -> MergeState:
    """Replace a host's instances in the indexes and in the services' inputs."""
    old = state.instances.get(host_id, ())
    claims = reclaimed(state.claims, host_id, old=old, new=new)
    instances = state.instances.set(host_id, new)
    if not new:
        instances = instances.delete(host_id)
    state = replace(state, instances=instances, claims=claims)
    for host in {instance.service for instance in (*old, *new)}:
        inputs = state.inputs.get(host, Inputs())
        others = [i for i in inputs.instances if i.host_id != host_id]
        mine = [i for i in new if i.service == host]
        ordered = by_arrival(claims, [*others, *mine])
        state = _with_inputs(state, host, replace(inputs, instances=ordered))
    return state


def _affected(
    state: MergeState, old: tuple[RegisteredInstance, ...], new: tuple[RegisteredInstance, ...]
) -> frozenset[str]:
    """Give the services that a changed registration touches: its own, and whoever else lists or
    registers one of its keys.
    """
    own = {instance.service for instance in (*old, *new)}
    keys = {key for instance in (*old, *new) for key in instance_keys(instance)}
    listing = {host for key in keys for host in state.listed.get(key, ())}
    claiming = {claim.service for key in keys for claim in state.claims.get(key, ())}
    return frozenset(own | listing | claiming)


def _with_inputs(state: MergeState, host: str, inputs: Inputs) -> MergeState:
    return replace(state, inputs=state.inputs.set(host, inputs))


def _beside_others(state: MergeState, host: str, inputs: Inputs) -> Inputs:
    """Note what other services have of it: keys that they registered, names that they bear."""
    registered = {key for instance in inputs.instances for key in instance.keys}
    owners = ((k, owner(state.claims, k)) for k in sorted(keys_of(inputs.listings) | registered))
    return replace(
        inputs,
        owned=tuple((k, o) for k, o in owners if o and o != host),
        lost_aliases=visibility.lost(
            state.aliases,
            host,
            inputs.listings,
            exists=lambda name: not state.inputs.get(name, Inputs()).empty,
        ),
    )


def _settled(
    before: MergeState,
    state: MergeState,
    changed: Mapping[str, Inputs],
    *,
    hosts: frozenset[str] = frozenset(),
) -> Step:
    """Make the touched services anew and say what became of them."""
    for host, inputs in changed.items():
        state = _with_inputs(state, host, inputs)
    changes: list[MeshChange] = []
    records: list[tuple[str, ServiceRecord]] = []
    wanted: list[WantedVip] = []
    named = {h for name in (*changed, *hosts) for h in visibility.claimants(state.aliases, name)}
    for host in sorted({*changed, *hosts, *named}):
        inputs = _beside_others(state, host, state.inputs.get(host, Inputs()))
        inputs = _limited(state, _as_demanded(state, _forget_refusals(inputs)))
        state = _kept_or_dropped(state, host, inputs)
        if inputs.record != before.record(host):
            records.append((host, inputs.record))
        wanted += _wanted(host, inputs)
        service = unite(host, inputs, state.rules) if inputs.vip else None
        known = before.services.get(host)
        if service != known:
            changes.append(MeshChange(host, known, service))
            state = replace(state, services=_with_service(state.services, host, service))
    return Step(state, tuple(changes), tuple(records), tuple(wanted))


def _with_service(
    services: Map[str, Service], host: str, service: Service | None
) -> Map[str, Service]:
    return services.delete(host) if service is None else services.set(host, service)


def _kept_or_dropped(state: MergeState, host: str, inputs: Inputs) -> MergeState:
    """Store the inputs, or drop a host name of which nothing at all is known any more."""
    if inputs == Inputs() and host in state.inputs:
        return replace(state, inputs=state.inputs.delete(host))
    return _with_inputs(state, host, inputs)


def _forget_refusals(inputs: Inputs) -> Inputs:
    """Votes are about held endpoints: one that is listed again or gone starts afresh."""
    if not inputs.refusing:
        return inputs
    held = {e.key for _, listing in inputs.listings for e in listing.endpoints if e.held}
    return replace(inputs, refusing=inputs.refusing & held)


def _wanted(host: str, inputs: Inputs) -> list[WantedVip]:
    if inputs.empty:
        return []
    port = first_seen(inputs.listings, inputs.instances)
    if inputs.vip is None or (port and not inputs.vip.port):
        return [WantedVip(host, port)]
    return []
