"""One joined host with its true control plane, on a clock held in hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hostmesh_agent.app.identity import HostCredentials, IdentityService, IssueResult, Listeners
from hostmesh_agent.edges.identity_disk import IdentityDisk, Membership
from hostmesh_agent.edges.keys import new_key
from hostmesh_controlplane.app.authority import Authority, Enrolled
from hostmesh_controlplane.config import CertificateAuthority, ControlPlaneConfig
from hostmesh_controlplane.logic.refusals import Refusal
from hostmesh_controlplane.logic.tokens import TokenRequest
from hostmesh_core import x509
from hostmesh_core.credentials import CertificateSet
from hostmesh_core.errors import Unreachable
from hostmesh_core.ids import Identity
from hostmesh_testing.fixed import CountingEntropy, ManualClock
from hostmesh_testing.memory_store import MemoryStore


class JoinedHost:
    """One joined host and its control plane."""

    def __init__(self, folder: Path, *, leaf_hours: float) -> None:
        self.folder = folder
        self.clock = ManualClock()
        config = ControlPlaneConfig(
            state_dir=str(folder / "cp"),
            ca=CertificateAuthority(leaf_hours=leaf_hours, outage_hours=0),
        )
        self.authority = Authority(
            config, MemoryStore(), clock=self.clock, entropy=CountingEntropy()
        )
        self.disk = IdentityDisk(folder / "identity")
        self.up = True
        self.answer: Callable[[bytes, Identity | None], Coroutine[Any, Any, IssueResult]]
        self.answer = self.asked
        self.asked_for: list[Identity | None] = []
        self.host_serials: list[str] = []
        self.served: list[tuple[Identity, str]] = []

    async def join(self) -> None:
        await self.authority.start()
        request = TokenRequest.parse(
            {"service": ["reviews", "ratings"]}, mesh_domain="mesh.internal"
        )
        token, _ = await self.authority.create_token(request)
        key = new_key()
        joined = await self.authority.enrol(token, key.csr_pem, "10.0.0.7", "web-1")
        assert isinstance(joined, Enrolled)
        chain = x509.to_pem([x509.load_der(der) for der in joined.chain_der])
        self.disk.store_join(
            Membership(joined.host_id, joined.trust_domain, self.clock.now, "cp1:15013"),
            host=CertificateSet.read(key.key_pem, chain),
            grant=joined.grant,
            bundles=joined.bundles,
        )

    def service(self) -> IdentityService:
        stored = self.disk.load()
        assert stored is not None
        self.membership = stored.membership
        return IdentityService(
            self.disk,
            stored,
            request=lambda csr, identity: self.answer(csr, identity),
            clock=self.clock,
            jitter=lambda: 0.5,
            listeners=Listeners(self._host_renewed, self._workload_renewed),
        )

    async def asked(self, csr_der: bytes, identity: Identity | None) -> IssueResult:
        self.asked_for.append(identity)
        if not self.up:
            raise Unreachable("cannot reach control plane cp1:15012: no stream")
        issued = await self.authority.issue(self.membership.host_id, csr_der, identity)
        if isinstance(issued, Refusal):
            return IssueResult(refused=issued.text)
        return IssueResult(issued.chain_der, issued.bundles, renewal=issued.renewal)

    def _host_renewed(self, credentials: HostCredentials) -> None:
        self.host_serials.append(credentials.serial)

    def _workload_renewed(self, identity: Identity, held: CertificateSet) -> None:
        self.served.append((identity, held.facts.serial))

    def keys_on_disk(self, place: str) -> int:
        return len(list((self.folder / "identity" / place).glob("v-*/key.pem")))


@asynccontextmanager
async def running(world: JoinedHost, *wanted: Identity) -> AsyncIterator[IdentityService]:
    service = world.service()
    service.want(wanted)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(service.run())
        await world.clock.settle()
        try:
            yield service
        finally:
            task.cancel()
