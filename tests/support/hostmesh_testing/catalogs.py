"""Catalog entries and registrations with everything beside the point left at its default."""

from hostmesh_controlplane.logic import merge
from hostmesh_controlplane.logic.catalog import (
    CatalogEndpoint,
    CatalogService,
    SourceChanged,
    SourceStatus,
)
from hostmesh_controlplane.logic.draft import Rules
from hostmesh_controlplane.logic.merge import MergeState, Step
from hostmesh_controlplane.logic.vips import VipRanges, allocate
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId
from hostmesh_core.model import Health, Labels, Port, Protocol, RegisteredInstance, Service

REVIEWS = "reviews.default.mesh.internal"
RATINGS = "ratings.default.mesh.internal"
RULES = Rules(
    trust_domain="mesh.internal",
    mesh_domain="mesh.internal",
    sources=(("files", "static"), ("dc1", "consul")),
)
HTTP_9080 = Port(9080, Protocol.HTTP, "http")


def key(text: str) -> EndpointKey:
    """Read `10.0.0.1:9080`, IPv6 in brackets."""
    address, _, port = text.rpartition(":")
    return EndpointKey.of(address.strip("[]"), int(port))


def listed(
    text: str,
    *,
    port: int = 0,
    health: Health = Health.HEALTHY,
    reason: str = "",
    weight: int = 1,
    labels: Labels = (),
    held: bool = False,
) -> CatalogEndpoint:
    """Give an endpoint as a catalog lists it."""
    return CatalogEndpoint(
        key(text),
        service_port=port,
        health=health,
        reason=reason,
        weight=weight,
        labels=labels,
        held=held,
    )


def service(
    *endpoints: str | CatalogEndpoint,
    host: str = REVIEWS,
    ports: tuple[Port, ...] = (),
    namespace: str = "default",
    require_mesh: bool = False,
) -> CatalogService:
    """Give a service as a catalog lists it; a text is an endpoint on the only port."""
    return CatalogService(
        host=host,
        namespace=namespace,
        ports=ports,
        require_mesh=require_mesh,
        endpoints=tuple(listed(e) if isinstance(e, str) else e for e in endpoints),
    )


def instance(
    *keys: str,
    host: str = REVIEWS,
    host_id: str = "a" * 32,
    port: Port = HTTP_9080,
    account: str = "",
    workload_port: int = 0,
    health: Health = Health.HEALTHY,
    labels: Labels = (),
    require_mesh: bool = False,
) -> RegisteredInstance:
    """Give a live registration; the account is the service's own unless said otherwise."""
    name, namespace = host.split(".")[:2]
    identity = Identity(namespace, account or name)
    return RegisteredInstance(
        host_id=host_id,
        service=host,
        namespace=namespace,
        port=port,
        keys=tuple(key(text) for text in keys),
        workload_port=workload_port or key(keys[0]).port,
        identity=SpiffeId.of_workload("mesh.internal", identity),
        health=health,
        labels=labels,
        require_mesh=require_mesh,
    )


class Mesh:
    """A merge state under test, with virtual addresses given as soon as they are wanted."""

    def __init__(self, rules: Rules = RULES, *, certain: bool = True) -> None:
        """Start empty; `certain`: every source is healthy and synced."""
        self.state: MergeState = merge.start(rules)
        self.last = Step(self.state)
        for name, kind in rules.sources:
            status = SourceStatus(name, kind, healthy=certain, synced=certain)
            self.take(merge.source_status(self.state, status))

    def take(self, step: Step) -> Step:
        """Go on from a step; gives the step with the changes that its addresses brought."""
        self.state = step.state
        changes, records = list(step.changes), list(step.records)
        for wanted in step.wanted:
            taken = {i.vip.vip4 for i in self.state.inputs.values() if i.vip}
            given = allocate(wanted, ranges=VipRanges(), taken=taken)
            after = merge.set_vip(self.state, wanted.host, given)
            self.state = after.state
            changes += after.changes
            records += after.records
        self.last = Step(self.state, tuple(changes), tuple(records))
        return self.last

    def catalog(self, source: str, listing: CatalogService | None, *, host: str = REVIEWS) -> Step:
        """One source lists a service, or lists it no more."""
        name = listing.host if listing else host
        return self.take(merge.source_changed(self.state, SourceChanged(source, name, listing)))

    def register(
        self,
        *instances: RegisteredInstance,
        host_id: str = "a" * 32,
        withdrawn: tuple[RegisteredInstance, ...] = (),
    ) -> Step:
        """A host's complete registration."""
        return self.take(merge.register(self.state, host_id, instances, withdrawn=withdrawn))

    def end_lease(self, host_id: str = "a" * 32) -> Step:
        """A host fell silent."""
        return self.take(merge.lease_ended(self.state, host_id))

    def service(self, host: str = REVIEWS) -> Service:
        """Give a service that must be there."""
        return self.state.services[host]

    def table(self, host: str = REVIEWS) -> dict[str, str]:
        """Give key -> `sources` for each endpoint, with `+mtls` where it is meshed."""
        return {
            str(e.key): "+".join(e.sources) + ("+mtls" if e.meshed else "")
            for e in self.service(host).endpoints
        }
