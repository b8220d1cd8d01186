"""The registry's surroundings in memory, and a control plane for the host stream on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hostmesh_agent.edges.xds_upstream import Credentials
from hostmesh_controlplane.app.host_contracts import HostsConfig
from hostmesh_controlplane.app.hosts import Hosts
from hostmesh_controlplane.edges.clock import SystemClock
from hostmesh_controlplane.edges.entropy import SystemEntropy
from hostmesh_controlplane.edges.host_stream import host_handlers
from hostmesh_controlplane.edges.mesh_server import ServingCertificate, serve
from hostmesh_controlplane.edges.peer import Peer
from hostmesh_controlplane.logic.own_listeners import OwnListeners
from hostmesh_controlplane.logic.refusals import Reason, Refusal
from hostmesh_controlplane.logic.registry import Inbound
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import EndpointKey, Identity, SpiffeId
from hostmesh_core.model import InboundMode, RegisteredInstance
from hostmesh_core.rotation import Renewal
from hostmesh_testing.certificates import Authority, authority
from hostmesh_testing.memory_store import MemoryStore

DOMAIN = "mesh.internal"
HOST = "7f3a" + "0" * 28
OTHER = "9b1c" + "0" * 28
GRANT = Grant(claims=(Claim("default", "web", "web"),), cidrs=("127.0.0.0/8", "::1/128"))
NO_BUNDLES = TrustBundles()


@dataclass
class Terms:
    """A host's record, as far as the registry reads it."""

    grant: Grant = GRANT
    revoked: bool = False


@dataclass(frozen=True)
class SignedChain:
    chain_der: tuple[bytes, ...]
    bundles: TrustBundles = NO_BUNDLES
    renewal: Renewal = Renewal()  # noqa: RUF009 (frozen)


class FakeAuthorities:
    """Knows the hosts that a test puts in; signs by echoing the request."""

    def __init__(self, *host_ids: str) -> None:
        self.records = {host_id: Terms() for host_id in host_ids}
        self.asked: list[tuple[str, bytes, Identity | None]] = []
        self.broken: Exception | None = None

    def host(self, host_id: str) -> Terms | None:
        return self.records.get(host_id)

    async def issue(
        self, host_id: str, csr_der: bytes, identity: Identity | None
    ) -> SignedChain | Refusal:
        await asyncio.sleep(0)
        if self.broken is not None:
            raise self.broken
        self.asked.append((host_id, csr_der, identity))
        if identity is not None and not self.records[host_id].grant.allows_identity(identity):
            return Refusal(Reason.IDENTITY, f"cannot issue a certificate of {identity}")
        return SignedChain((b"signed " + csr_der,))


@dataclass
class FakeMesh:
    """Remembers all that the registry told, the newest state of each host."""

    catalog: dict[str, set[EndpointKey]] = field(default_factory=dict)
    accepted: dict[str, set[SpiffeId]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    instances: dict[str, tuple[RegisteredInstance, ...]] = field(default_factory=dict)
    inbound: dict[str, tuple[Inbound, ...]] = field(default_factory=dict)
    outbound: dict[str, tuple[tuple[int, Identity], ...]] = field(default_factory=dict)
    own: dict[str, OwnListeners] = field(default_factory=dict)
    shown: int = 0
    """How often some host's own listeners were told."""
    applied: list[pb.Applied] = field(default_factory=list)
    rejected: list[pb.Rejected] = field(default_factory=list)
    callers: list[tuple[str, pb.Callers]] = field(default_factory=list)
    said: set[str] = field(default_factory=set)
    following: set[str] = field(default_factory=set)
    """Hosts whose proxies have a stream."""
    drain_answer: bool = True
    drain_gate: asyncio.Event | None = None
    taking_in: "asyncio.Future[object] | None" = None
    """What `on_instances` gives: done when the mesh has merged it; None = at once."""

    def catalogued(self, service: str) -> set[EndpointKey]:
        return self.catalog.get(service, set())

    def accepted_ids(self, service: str) -> set[SpiffeId]:
        return self.accepted.get(service, set())

    def summary(self, service: str) -> tuple[str, int, int]:
        every = [i for instances in self.instances.values() for i in instances]
        count = sum(instance.service == service for instance in every)
        return "mixed", count, count

    def inbound_mode(self, service: str, declared: InboundMode | None) -> InboundMode:
        del service
        return declared or InboundMode.PERMISSIVE

    def on_instances(
        self,
        host_id: str,
        instances: tuple[RegisteredInstance, ...],
        withdrawn: tuple[RegisteredInstance, ...] = (),
    ) -> "asyncio.Future[object] | None":
        if withdrawn:
            self.told.append(f"withdrawn {host_id[:4]} {len(withdrawn)}")
        self.told.append(f"instances {host_id[:4]} {len(instances)}")
        self.instances[host_id] = instances
        return self.taking_in

    def on_lease_ended(self, host_id: str, instances: tuple[RegisteredInstance, ...]) -> None:
        self.told.append(f"lease ended {host_id[:4]} {len(instances)}")
        self.instances[host_id] = ()

    def on_inbound(
        self,
        host_id: str,
        inbound: tuple[Inbound, ...],
        outbound: tuple[tuple[int, Identity], ...],
        own: OwnListeners,
    ) -> None:
        self.shown += 1
        self.inbound[host_id] = inbound
        self.outbound[host_id] = outbound
        self.own[host_id] = own

    def on_said(self, host_id: str) -> None:
        self.said.add(host_id)

    def upstream_notes(self, host_id: str) -> tuple[str, ...]:
        own = self.own.get(host_id, OwnListeners())
        return tuple(f"told of {each}" for each in own.upstreams)

    def on_applied(self, _: str, applied: pb.Applied) -> None:
        self.applied.append(applied)

    def on_rejected(self, _: str, rejected: pb.Rejected) -> None:
        self.rejected.append(rejected)

    def on_callers(self, host_id: str, callers: pb.Callers) -> None:
        self.callers.append((host_id, callers))

    def on_use(self, host_id: str, names: tuple[str, ...]) -> None:
        self.told.append(f"use {host_id[:4]} {','.join(names)}")

    def on_connected(self, host_id: str, peer: Peer, hello: pb.Hello) -> None:
        self.told.append(f"connected {host_id[:4]} {peer.address} {hello.hostname}".rstrip())

    def on_disconnected(self, host_id: str) -> None:
        self.told.append(f"disconnected {host_id[:4]}")

    def follows(self, host_id: str) -> bool:
        return host_id in self.following

    def forget(self, host_id: str) -> None:
        self.told.append(f"forget {host_id[:4]}")

    async def drained(self, host_id: str, instances: tuple[RegisteredInstance, ...]) -> bool:
        self.told.append(f"drain {host_id[:4]} {len(instances)}")
        if self.drain_gate is not None:
            await self.drain_gate.wait()
        return self.drain_answer


class FakeLink:
    """A stream as the registry sees it."""

    def __init__(self) -> None:
        self.sent: list[pb.Down] = []
        self.ended: str | None = None

    def send(self, envelope: pb.Down) -> None:
        self.sent.append(envelope)

    def close(self, reason: str, *, again: bool) -> None:
        self.ended = f"{'again' if again else 'never'}: {reason}"

    def bodies(self, field_name: str) -> list[pb.Down]:
        return [item for item in self.sent if item.WhichOneof("body") == field_name]


def peer(
    host_id: str = HOST, *, address: str = "10.0.0.4", stream_id: str = "s1", domain: str = DOMAIN
) -> Peer:
    """Give an authenticated other side."""
    return Peer(
        spiffe=SpiffeId.of_host(domain, host_id),
        serial=1,
        not_after=2_000_000_000.0,
        address=address,
        stream_id=stream_id,
    )


class LoopbackControlPlane:
    """A real server with a real registry, which can be stopped and started again."""

    def __init__(self, *host_ids: str) -> None:
        self.root: Authority = authority(DOMAIN)
        self.authorities = FakeAuthorities(*host_ids)
        self.mesh = FakeMesh()
        self.store = MemoryStore()
        self.port = 0
        self.hosts: Hosts | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def credentials(self, host_id: str = HOST, *, uri: str = "") -> Credentials:
        leaf = self.root.leaf(uris=(uri or str(SpiffeId.of_host(DOMAIN, host_id)),))
        return Credentials(
            leaf.key_pem, leaf.chain_pem, self.root.root_pem, f"control-plane.{DOMAIN}"
        )

    @asynccontextmanager
    async def running(
        self, *, config: HostsConfig | None = None, listen: str = "127.0.0.1"
    ) -> AsyncIterator[Hosts]:
        """Serve, with a new process's memory and the store of the one before."""
        serving = self.root.leaf(dns=(f"control-plane.{DOMAIN}",))
        shown = ServingCertificate(serving.key_pem, serving.chain_pem, self.root.root_pem)
        self.hosts = hosts = Hosts(
            config or HostsConfig(trust_domain=DOMAIN, lease_seconds=1.5, renew_seconds=0.3),
            self.store,
            self.authorities,
            mesh=self.mesh,
            clock=SystemClock(),
            entropy=SystemEntropy(),
        )
        await hosts.restore()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(hosts.run())
            async with serve(
                [f"{listen}:{self.port}"],
                current=lambda: shown,
                handlers=[host_handlers(hosts.accept)],
            ) as ports:
                self.port = ports[0]
                try:
                    yield hosts
                finally:
                    running.cancel()


async def until(condition: Callable[[], object], *, seconds: float = 8.0) -> None:
    """Wait for a condition inside the loop; fail when it does not come true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (conditions of the code under test have no event)
            await asyncio.sleep(0.01)
