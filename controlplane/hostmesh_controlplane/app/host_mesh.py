"""What hosts say, told to mesh and proxies; what the mesh knows, told to the registry."""

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import Protocol

from hostmesh_controlplane.app.host_member import ServiceSummary
from hostmesh_controlplane.app.mesh import Mesh
from hostmesh_controlplane.app.proxies import Proxies
from hostmesh_controlplane.config import ControlPlaneConfig
from hostmesh_controlplane.edges.peer import Peer
from hostmesh_controlplane.logic import inbounds, merge, own_listeners, scopes
from hostmesh_controlplane.logic.callers import CallerBook, Told
from hostmesh_controlplane.logic.key_index import Listings, keys_of
from hostmesh_controlplane.logic.own_listeners import OwnListeners
from hostmesh_controlplane.logic.publication import Publication
from hostmesh_controlplane.logic.registry import Inbound
from hostmesh_controlplane.logic.scope import Families, Scope
from hostmesh_core import names
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.grant import Grant
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId
from hostmesh_core.model import InboundMode, MeshChange, RegisteredInstance, Service

DRAIN_SECONDS = 20.0
"""How long a leaving host waits for its peers' proxies; one that is away does not hold it."""


class Registry(Protocol):
    """What this asks of the registry of hosts (`app.hosts.Hosts`)."""

    @property
    def held(self) -> tuple[str, ...]:
        """The hosts whose lease is held."""

    def end_held(self) -> tuple[str, ...]:
        """Let the held leases end."""

    def refused(self, host_id: str) -> tuple[str, ...]:
        """Give the sentences of what is refused to a host now."""

    async def stored(self, host_id: str) -> None:
        """Wait until the mesh was told of all that a host holds."""


class HostMesh:
    """Between the host streams on one side, the merged mesh and the ADS streams on the other."""

    def __init__(
        self,
        *,
        mesh: Mesh,
        publication: Publication,
        proxies: Proxies,
        grant_of: Callable[[str], Grant | None],
        left_registry: Callable[[Iterable[EndpointKey]], None],
        config: ControlPlaneConfig,
    ) -> None:
        self._mesh = mesh
        self._publication = publication
        self._proxies = proxies
        self._grant_of = grant_of
        self._left_registry = left_registry
        self._mesh_wide = config.mtls
        self._trust_domain = config.trust_domain
        self._declared: dict[str, tuple[Inbound, ...]] = {}
        self._own: dict[str, OwnListeners] = {}
        self._upstream_notes: dict[str, tuple[str, ...]] = {}
        self._named: dict[str, frozenset[str]] = {}
        """Host -> the services that its own resources are rendered from."""
        self._naming: dict[str, set[str]] = {}
        """The other way round."""
        self._outbound: dict[str, tuple[tuple[int, Identity], ...]] = {}
        self._catalogued: dict[str, tuple[Listings, frozenset[EndpointKey]]] = {}
        """Service -> its keys, and what they were read from: all hosts of a service ask at once."""
        self._connected: dict[str, str] = {}
        self._callers = CallerBook()
        self._without_ipv6: set[str] = set()
        self._said: set[str] = set()
        """The hosts of which it is known what they serve."""
        self.on_upstreams_changed: Callable[[str], None] = lambda _: None
        """Told a host's id when the sentences about its upstreams change."""
        self._registry: Registry | None = None
        proxies.on_node = self.on_node
        proxies.known = self._said.__contains__

    def attach(self, registry: Registry) -> None:
        """Name the registry that tells this: the operator asks it of held leases."""
        self._registry = registry

    # What the registry asks

    def catalogued(self, service: str) -> Set[EndpointKey]:
        """Give the keys that catalogs list for a service."""
        inputs = self._mesh.state.inputs.get(service)
        if inputs is None or not inputs.listings:
            self._catalogued.pop(service, None)
            return frozenset()
        listings, keys = self._catalogued.get(service, ((), frozenset()))
        if listings is not inputs.listings:
            keys = keys_of(inputs.listings)
            self._catalogued[service] = (inputs.listings, keys)
        return keys

    def accepted_ids(self, service: str) -> Set[SpiffeId]:
        """Give the SPIFFE ids that clients accept for a service."""
        return set(self._mesh.state.accepted(service))

    def summary(self, service: str) -> ServiceSummary:
        """Give how far a service is in the mesh."""
        found = self._mesh.state.services.get(service)
        if found is None:
            return ("plain", 0, 0)
        meshed = sum(endpoint.meshed for endpoint in found.endpoints)
        return (found.state.value, meshed, len(found.endpoints))

    def inbound_mode(self, service: str, declared: InboundMode | None) -> InboundMode:
        """Give what a host's Envoy accepts for a service."""
        found = self._mesh.state.services.get(service)
        return inbounds.mode_of(declared, found.inbound if found else None, self._mesh_wide)

    # What hosts say

    def on_instances(
        self,
        host_id: str,
        instances: tuple[RegisteredInstance, ...],
        withdrawn: tuple[RegisteredInstance, ...] = (),
    ) -> Awaitable[object]:
        """Merge a host's complete registration. What left in order is no loss of a catalog's."""
        kept = {key for instance in instances for key in instance.keys}
        before = self._mesh.state.instances.get(host_id, ())
        self._left_registry({key for i in before for key in i.keys} - kept)
        return self._mesh.apply(
            lambda state: merge.register(state, host_id, instances, withdrawn=withdrawn)
        )

    def on_lease_ended(
        self, host_id: str, instances: tuple[RegisteredInstance, ...]
    ) -> Awaitable[object]:
        """Merge a host's silence."""
        del instances  # merge knows them
        return self._mesh.apply(lambda state: merge.lease_ended(state, host_id))

    def on_inbound(
        self,
        host_id: str,
        inbound: tuple[Inbound, ...],
        outbound: tuple[tuple[int, Identity], ...],
        own: OwnListeners,
    ) -> None:
        """Render what a host serves and binds, and show it the mesh as whom it speaks."""
        before = self._outbound.get(host_id), self._own_of(host_id).ports
        self._declared[host_id], self._own[host_id] = inbound, own
        self._outbound[host_id] = outbound
        self._render_inbound(host_id)
        if (outbound, own.ports) != before:
            self.rescope(host_id)

    def on_said(self, host_id: str) -> None:
        """Answer the host's proxy, if it was back first."""
        self._said.add(host_id)
        self._proxies.host_known(host_id)

    def upstream_notes(self, host_id: str) -> tuple[str, ...]:
        """Give a sentence for each upstream of the host whose service is not there."""
        return self._upstream_notes.get(host_id, ())

    def on_applied(self, host_id: str, applied: pb.Applied) -> None:
        """Note what its Envoy applied."""
        self._proxies.applied(host_id, applied)

    def on_rejected(self, host_id: str, rejected: pb.Rejected) -> None:
        """Note what its Envoy refused."""
        self._proxies.rejected(host_id, rejected)

    def on_use(self, host_id: str, names: tuple[str, ...]) -> None:
        """Take which names a host uses: it is shown the whole mesh all the same."""

    def on_callers(self, host_id: str, callers: pb.Callers) -> None:
        """Note who calls a host's services."""
        self._callers.put(host_id, callers, now=time.time())

    def callers(self, service: str) -> list[tuple[str, Told]]:
        """Give (host, what it counted) of a service, for the hosts that may serve it."""
        return self._callers.of(service, self._serving(service))

    def own_modes(self, service: str) -> dict[str, set[InboundMode]]:
        """Give what hosts' own files say of a service, where they say anything."""
        found: dict[str, set[InboundMode]] = {}
        for host_id, ports in self._serving(service).items():
            for port in ports:
                if port.service == service and port.mode is not None:
                    found.setdefault(host_id, set()).add(port.mode)
        return found

    def _serving(self, service: str) -> dict[str, tuple[Inbound, ...]]:
        hosts = self._naming.get(service, set())
        return {host_id: self._declared.get(host_id, ()) for host_id in hosts}

    def on_connected(self, host_id: str, peer: Peer, hello: pb.Hello) -> None:
        """Note where a host's stream comes from."""
        del hello
        self._connected[host_id] = peer.address

    def on_disconnected(self, host_id: str) -> None:
        """Note that it has none."""
        self._connected.pop(host_id, None)

    def follows(self, host_id: str) -> bool:
        """Whether a proxy of the host has a stream: its Envoy runs with what was rendered."""
        return bool(self._proxies.of_host(host_id))

    def forget(self, host_id: str) -> None:
        """Drop all that is known of a host that has neither stream nor lease."""
        for known in (self._declared, self._own, self._outbound, self._connected):
            known.pop(host_id, None)
        for service in self._named.pop(host_id, frozenset()):
            self._not_naming(service, host_id)
        self._upstream_notes.pop(host_id, None)
        self._callers.forget(host_id)
        self._without_ipv6.discard(host_id)
        self._said.discard(host_id)
        self._publication.set_inbound(host_id, None)

    async def drained(self, host_id: str, instances: tuple[RegisteredInstance, ...]) -> bool:
        """Wait until every subscriber has applied that these instances are gone."""
        del host_id
        clusters = {names.outbound_cluster(i.service, i.port.number) for i in instances}
        return await self._proxies.applied_everywhere(clusters, seconds=DRAIN_SECONDS)

    # What others ask and tell

    def connected(self, host_id: str) -> str:
        """Give the address a live stream comes from, or an empty text."""
        return self._connected.get(host_id, "")

    def held(self) -> tuple[str, ...]:
        """Give the hosts whose lease would have ended, but too many at once."""
        return self._registry.held if self._registry else ()

    def end_held(self) -> tuple[str, ...]:
        """Let those leases end. Raises BadInput where none is held."""
        return self._registry.end_held() if self._registry else ()

    def refused(self, host_id: str) -> tuple[str, ...]:
        """Give the sentences of what is refused to a host now."""
        return self._registry.refused(host_id) if self._registry else ()

    async def stored(self, host_id: str) -> None:
        """Wait until the mesh was told of all that a host holds."""
        if self._registry:
            await self._registry.stored(host_id)

    def scope(self, host_id: str) -> Scope:
        """Give what a host's streams may see."""
        grant = self._grant_of(host_id) or Grant()
        port = self._own_of(host_id).ports.outbound
        outbound = scopes.outbound_of(self._outbound.get(host_id, ()), grant, port=port)
        scope = scopes.scope_of(grant, outbound, trust_domain=self._trust_domain, port=port)
        if host_id in self._without_ipv6:
            return replace(scope, families=Families(v6=False, sockets6=False))
        return scope

    def on_node(self, host_id: str, has_ipv6: bool) -> None:  # noqa: FBT001 (a callback)
        """Take whether a host's kernel has IPv6: a bind on `::` would cost it the listener."""
        if has_ipv6 != (host_id in self._without_ipv6):
            return
        self._without_ipv6 ^= {host_id}
        self.rescope(host_id)
        self._render_again(host_id)

    def rescope(self, host_id: str) -> None:
        """Show a host another view, after its grant or its identities changed."""
        self._proxies.rescope(host_id, self.scope(host_id))
        if self._own_of(host_id).upstreams:
            self._render_again(host_id)  # short names mean what the grant says

    def services_changed(self, changes: Sequence[MeshChange]) -> None:
        """Render anew what the hosts of changed services serve: mode or protocol may differ."""
        touched: set[str] = set()
        for change in changes:
            if _shown_inbound(change.before) != _shown_inbound(change.after):
                touched |= self._naming.get(change.host, set())
        for host_id in touched:
            self._proxies.alone(host_id, partial(self._render_again, host_id))

    def _own_of(self, host_id: str) -> OwnListeners:
        return self._own.get(host_id, OwnListeners())

    def _render_inbound(self, host_id: str) -> None:
        own, namespace = self._own_of(host_id), self.scope(host_id).namespace
        has_ipv6 = host_id not in self._without_ipv6
        upstreams, notes = own_listeners.resolve(
            own,
            self._mesh.state.services.get,
            namespace=namespace,
            mesh_domain=self._trust_domain,
            ipv6=has_ipv6,
        )
        self._note_named(host_id, namespace)
        inbound = inbounds.inbound_of(
            self._declared.get(host_id, ()),
            self._mesh.state.services.get,
            mesh_wide=self._mesh_wide,
            trust_domain=self._trust_domain,
            upstreams=upstreams,
            envoy=own.ports,
        )
        inbound = replace(inbound, ipv6=has_ipv6, captured=own.captured)
        self._proxies.changed_for(host_id, self._publication.set_inbound(host_id, inbound))
        self._upstream_notes[host_id] = notes

    def _render_again(self, host_id: str) -> None:
        """Render what a host did not ask for now; tell it when its upstreams fare differently."""
        before = self.upstream_notes(host_id)
        self._render_inbound(host_id)
        if self.upstream_notes(host_id) != before:
            self.on_upstreams_changed(host_id)

    def _note_named(self, host_id: str, namespace: str) -> None:
        domain = self._trust_domain
        wanted = self._own_of(host_id).upstreams
        named = frozenset(one.service for one in self._declared.get(host_id, ())) | {
            own_listeners.full_name(one.service, namespace=namespace, mesh_domain=domain)
            for one in wanted
        }
        had = self._named.get(host_id, frozenset())
        for service in had - named:
            self._not_naming(service, host_id)
        for service in named - had:
            self._naming.setdefault(service, set()).add(host_id)
        self._named[host_id] = named

    def _not_naming(self, service: str, host_id: str) -> None:
        self._naming[service].discard(host_id)
        if not self._naming[service]:
            del self._naming[service]


def _shown_inbound(service: Service | None) -> object:
    """Give what a host's own resources and notes take from a service that they name.

    Endpoints come and go all the time and are no part of it.
    """
    return None if service is None else (service.ports, service.inbound)
