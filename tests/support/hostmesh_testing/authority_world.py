"""One control plane's authority, and everything that it stands on."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from hostmesh_agent.edges.keys import new_key
from hostmesh_controlplane.app.authority import Authority, Enrolled
from hostmesh_controlplane.config import CertificateAuthority, ControlPlaneConfig
from hostmesh_controlplane.logic.refusals import Refusal
from hostmesh_controlplane.logic.tokens import TokenRequest
from hostmesh_core import x509
from hostmesh_testing.fixed import CountingEntropy, FixedClock
from hostmesh_testing.memory_store import MemoryStore


class AuthorityWorld:
    """One control plane's authority, and everything that it stands on."""

    def __init__(self, folder: Path, *, leaf_hours: float = 72.0) -> None:
        self.clock = FixedClock()
        self.entropy = CountingEntropy()
        self.store = MemoryStore()
        self.config = ControlPlaneConfig(
            state_dir=str(folder),
            ca=CertificateAuthority(leaf_hours=leaf_hours, outage_hours=0),
        )
        self.authority = self.opened()

    def opened(self) -> Authority:
        return Authority(self.config, self.store, clock=self.clock, entropy=self.entropy)

    async def token(self, **body: object) -> str:
        request = TokenRequest.parse({"service": ["reviews"], **body}, mesh_domain="mesh.internal")
        return (await self.authority.create_token(request))[0]

    async def joined(self, **body: object) -> Enrolled:
        outcome = await self.enrol(await self.token(**body))
        assert isinstance(outcome, Enrolled), outcome
        return outcome

    async def enrol(self, token: str, csr_pem: bytes | None = None) -> Enrolled | Refusal:
        csr = csr_pem or new_key().csr_pem
        return await self.authority.enrol(token, csr, "10.0.0.7", "web-1")

    def facts(self, chain_der: tuple[bytes, ...]) -> x509.CertificateFacts:
        chain = [x509.load_der(der) for der in chain_der]
        roots = self.authority.bundles.roots("mesh.internal")
        return x509.verify_chain(chain, roots, now=self.clock.now)


Scenario = Callable[[AuthorityWorld], Coroutine[Any, Any, None]]
Play = Callable[[Scenario], None]


def player(folder: Path) -> Play:
    """Give what runs a scenario with a world of its own, whose authority has started."""

    async def run(scenario: Scenario) -> None:
        world = AuthorityWorld(folder)
        await world.authority.start()
        await scenario(world)

    return lambda scenario: asyncio.run(run(scenario))
