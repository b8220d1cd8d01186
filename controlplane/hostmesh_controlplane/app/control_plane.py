"""The control plane, assembled: every part made once, joined here and nowhere else."""

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from hostmesh_controlplane.app import proxies
from hostmesh_controlplane.app.authority import Authority
from hostmesh_controlplane.app.catalogs import Catalogs
from hostmesh_controlplane.app.enrolment import EnrolmentDesk
from hostmesh_controlplane.app.held_probes import HeldProbes
from hostmesh_controlplane.app.host_contracts import HostsConfig
from hostmesh_controlplane.app.host_mesh import HostMesh
from hostmesh_controlplane.app.hosts import Hosts
from hostmesh_controlplane.app.mesh import Mesh
from hostmesh_controlplane.app.metrics import Gauges, registry_of
from hostmesh_controlplane.app.operator import Operator
from hostmesh_controlplane.app.proxies import Proxies, ProxyStream
from hostmesh_controlplane.config import ControlPlaneConfig
from hostmesh_controlplane.edges import (
    ads_server,
    enrolment,
    host_stream,
    mesh_server,
    monitoring,
    operator_api,
)
from hostmesh_controlplane.edges.clock import SystemClock
from hostmesh_controlplane.edges.entropy import SystemEntropy
from hostmesh_controlplane.edges.peer import Peer
from hostmesh_controlplane.edges.store_sqlite import SqliteStore
from hostmesh_controlplane.edges.tcp_probe import accepts
from hostmesh_controlplane.logic import identities, merge, plaintext
from hostmesh_controlplane.logic.catalog import SourceEvent, SourceStatus
from hostmesh_controlplane.logic.draft import Rules
from hostmesh_controlplane.logic.host_record import HostRecord
from hostmesh_controlplane.logic.newcomers import Newcomers
from hostmesh_controlplane.logic.publication import Publication
from hostmesh_controlplane.logic.refusals import Reason
from hostmesh_controlplane.logic.store import Conflict, Record
from hostmesh_controlplane.logic.vips import VipRanges
from hostmesh_core.grant import Grant
from hostmesh_core.model import MeshChange, ServiceState

log = logging.getLogger(__name__)
audit_log = logging.getLogger("hostmesh.audit")


class ControlPlane:
    """One replica."""

    def __init__(self, config: ControlPlaneConfig) -> None:
        self._config = config
        self._clock = SystemClock()
        self._entropy = SystemEntropy()
        state_dir = Path(config.state_dir)
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._store = SqliteStore(state_dir / "store.db", record=Record, conflict=Conflict)
        rules = Rules(
            trust_domain=config.trust_domain,
            mesh_domain=config.trust_domain,
            sources=tuple((source.name, source.kind) for source in config.sources),
            precedence=config.precedence,
        )
        ranges = VipRanges(config.vip4_range, config.vip6_range)
        self._authority = Authority(config, self._store, clock=self._clock, entropy=self._entropy)
        self._publication = Publication(vip4_range=config.vip4_range, vip6_range=config.vip6_range)
        self._proxies = Proxies(self._publication.resources)
        self._mesh = Mesh(rules, ranges, self._store, on_changes=self._changed)
        self._catalogs = Catalogs(
            config.sources,
            store=self._store,
            clock=self._clock,
            mesh_domain=config.trust_domain,
            on_event=self._source_event,
            virtual_ranges=(config.vip4_range, config.vip6_range),
        )
        self._host_mesh = HostMesh(
            mesh=self._mesh,
            publication=self._publication,
            proxies=self._proxies,
            grant_of=self._grant_of,
            left_registry=self._catalogs.left_registry,
            config=config,
        )
        self._hosts = self._new_hosts()
        self._host_mesh.attach(self._hosts)
        self._host_mesh.on_upstreams_changed = self._hosts.upstreams_changed
        self._grants: dict[str, Grant] = {}
        self._accounts = identities.AccountBook(config.trust_domain)
        self._ads_refusals: Counter[str] = Counter()
        self._newcomers = Newcomers()
        self._synced = asyncio.Event()
        if self._catalogs.synced:
            self._synced.set()

    def _new_hosts(self) -> Hosts:
        config = self._config
        return Hosts(
            HostsConfig(
                trust_domain=config.trust_domain,
                lease_seconds=config.lease_seconds,
                renew_seconds=config.renew_seconds,
                virtual_ranges=(config.vip4_range, config.vip6_range),
            ),
            self._store,
            self._authority,
            mesh=self._host_mesh,
            clock=self._clock,
            entropy=self._entropy,
        )

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._authority.start()
        await self._mesh.start()
        await self._catalogs.load()
        for record in self._authority.hosts():
            self._grants[record.host_id] = _standing(record)
            self._put_accounts(Grant(), _standing(record))
        self._authority.on_host_changed(self._host_changed)
        try:
            async with AsyncExitStack() as listeners, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._mesh.run())
                await self._mesh.settled()  # what is stored of catalogs decides what hosts restore
                await self._hosts.restore()
                tasks.create_task(self._hosts.run())
                tasks.create_task(self._authority.run())
                tasks.create_task(self._catalogs.run())
                tasks.create_task(self._held_probes().run())
                tasks.create_task(self._release())
                await listeners.enter_async_context(self._listening())
        finally:
            self._store.close()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        config, listen = self._config, self._config.listen
        handlers = [
            ads_server.ads_handlers(self._accept_ads),
            host_stream.host_handlers(self._hosts.accept),
        ]
        desk = EnrolmentDesk(self._authority, clock=self._clock, entropy=self._entropy)
        credentials = self._authority.serving_credentials()
        host, _, port = listen.metrics.rpartition(":")
        registry = registry_of(self._gauges())
        async with (
            operator_api.serve(listen.api, self._routes(), audit=_audit),
            monitoring.serve(
                host.strip("[]"), int(port), registry=registry, ready=self._waiting_for
            ),
            enrolment.serve(
                listen.enrolment, desk, credentials=credentials, clock=self._clock
            ) as enrolling,
            mesh_server.serve([listen.xds], current=self._serving, handlers=handlers),
        ):
            self._authority.serving_listeners.append(
                lambda: enrolling.reload(*self._authority.serving_credentials())
            )
            log.info(
                "listening xds=%s enrolment=%s metrics=%s api=%s trust_domain=%s",
                *(listen.xds, listen.enrolment, listen.metrics, listen.api, config.trust_domain),
            )
            await asyncio.Event().wait()
            yield

    def _routes(self) -> Sequence[operator_api.Route]:
        return Operator(
            mesh=self._mesh,
            authority=self._authority,
            proxies=self._proxies,
            catalogs=self._catalogs,
            hosts=self._host_mesh,
            mesh_wide=self._config.mtls,
        ).routes()

    # Streams

    def _serving(self) -> mesh_server.ServingCertificate:
        key, chain = self._authority.serving_credentials()
        return mesh_server.ServingCertificate(key, chain, self._authority.roots_pem())

    def _accept_ads(
        self, peer: Peer, push: ads_server.Push[DeltaDiscoveryResponse]
    ) -> ProxyStream | ads_server.Refusal:
        host_id, domain = peer.spiffe.host_id, peer.spiffe.trust_domain
        if host_id is None or domain != self._config.trust_domain:
            return self._refused_ads(
                peer, "not_a_host", "only a host's own certificate may ask for xDS"
            )
        record = self._authority.host(host_id)
        if record is None:
            return self._refused_ads(peer, Reason.HOST_UNKNOWN, "it has not joined here")
        if record.revoked:
            return self._refused_ads(peer, Reason.HOST_REVOKED, "it is revoked")
        try:
            return self._proxies.open(host_id, peer.stream_id, self._host_mesh.scope(host_id), push)
        except Exception:
            log.exception("cannot take a proxy's stream host=%s", host_id)
            return ads_server.Refusal(proxies.BUG, again=True)

    def _refused_ads(self, peer: Peer, why: str, text: str) -> ads_server.Refusal:
        """Count and log a stream that is not served, as the registry does for its own."""
        self._ads_refusals[why] += 1
        log.warning("refused xds peer=%s address=%s why=%s", peer.spiffe, peer.address, why)
        return ads_server.Refusal(f"cannot serve {peer.spiffe}: {text}", again=False)

    def _held_probes(self) -> HeldProbes:
        return HeldProbes(
            self._mesh,
            accepts=accepts,
            holding=lambda: any(status.held for status in self._catalogs.statuses()),
        )

    # Changes

    def _source_event(self, event: SourceEvent) -> None:
        if isinstance(event, SourceStatus):
            self._mesh.put(lambda state: merge.source_status(state, event))
            if self._catalogs.synced:
                self._synced.set()
        else:
            self._mesh.put(lambda state: merge.source_changed(state, event))
            self._look_again((event.host,))

    def _look_again(self, services: Iterable[str]) -> None:
        """Let hosts that registered for these be decided anew, once what was put is taken in: by
        which address the catalog means them, and whether clients accept their account still.
        """

        def tell(state: merge.MergeState) -> merge.Step:
            self._hosts.catalog_changed(services)
            return merge.Step(state)

        self._mesh.put(tell)

    def _changed(self, changes: Sequence[MeshChange]) -> None:
        self._proxies.changed(self._publication.apply(changes))
        self._host_mesh.services_changed(changes)
        self._newcomers, lines = self._newcomers.told(changes, now=self._clock.monotonic())
        for line in lines:
            log.warning("%s", line)

    def _host_changed(self, host_id: str) -> None:
        record = self._authority.host(host_id)
        if record is None:
            return
        if record.revoked:
            self._proxies.close_host(host_id, f"cannot go on: host {host_id} is revoked")
            self._hosts.reevaluate(host_id)
        grant = _standing(record)
        if self._grants.get(host_id) == grant:
            return
        self._put_accounts(self._grants.get(host_id, Grant()), grant)
        self._grants[host_id] = grant
        self._hosts.reevaluate(host_id)
        self._host_mesh.rescope(host_id)

    def _put_accounts(self, before: Grant, after: Grant) -> None:
        accounts = self._accounts.replace(before, after)
        if accounts:
            self._mesh.put(lambda state: merge.set_accounts(state, accounts))
            self._look_again(tuple(accounts))

    def _grant_of(self, host_id: str) -> Grant | None:
        record = self._authority.host(host_id)
        return record.grant if record else None

    async def _release(self) -> None:
        """Answer the streams once every source has spoken or its stored view is loaded."""
        await self._synced.wait()
        await self._mesh.settled()
        gc.freeze()  # what was built by now stays: no collection has to look at it again
        self._proxies.release()
        log.info("serving services=%d", len(self._mesh.state.services))

    # What is shown

    def _waiting_for(self) -> str:
        if self._proxies.ready:
            return ""
        silent = [s.source for s in self._catalogs.statuses() if not s.synced]
        return f"waiting for source {', '.join(silent)}" if silent else "starting"

    def _gauges(self) -> Gauges:
        def endpoints() -> Mapping[str, int]:
            services = self._mesh.state.services.values()
            counted = Counter(e.meshed for s in services for e in s.endpoints)
            return {"yes": counted[True], "no": counted[False]}

        def plaintext_shares() -> Mapping[str, float]:
            services = self._mesh.state.services.values()
            mixed = (s for s in services if s.state is ServiceState.MIXED)
            return {s.host: plaintext.share(plaintext.shares(s)) for s in mixed}

        def hours() -> Mapping[str, float]:
            now = self._clock.wall()
            return {r.host_id: r.hours_left(now) for r in self._authority.hosts() if not r.revoked}

        return Gauges(
            services=lambda: len(self._mesh.state.services),
            endpoints=endpoints,
            plaintext=plaintext_shares,
            streams=lambda: len(list(self._proxies.streams())),
            leases=lambda: self._hosts.lease_count,
            leases_held=lambda: len(self._hosts.held),
            refusals=self._refusals,
            sources_healthy=lambda: {s.source: s.healthy for s in self._catalogs.statuses()},
            certificate_hours_left=hours,
        )

    def _refusals(self) -> Mapping[str, int]:
        return (
            Counter(self._authority.refusals)
            + Counter(self._hosts.refusals)
            + self._ads_refusals
            + self._proxies.refusals
        )


def _standing(record: HostRecord) -> Grant:
    """Give what a host's grant stands for: nothing once it is revoked."""
    return Grant() if record.revoked else record.grant


def _audit(line: operator_api.Audited) -> None:
    body = {key: value for key, value in line.body.items() if key != "token"}
    audit_log.info(
        "call=%r user=%s uid=%d pid=%d body=%r about=%r change=%r outcome=%r",
        *(line.call, line.caller.user, line.caller.uid, line.caller.pid, body),
        *(line.about, line.change, line.outcome),
    )
    if line.bug is not None:
        log.error("operator call failed call=%r", line.call, exc_info=line.bug)
