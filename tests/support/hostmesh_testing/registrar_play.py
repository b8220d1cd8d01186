"""A registrar between a host stream, an identity and an app that a test holds in its hands."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

from hostmesh_agent.app.registrar import Asking, Registrar, ServiceView
from hostmesh_agent.config import (
    Address,
    AgentConfig,
    CaptureConfig,
    HealthCheck,
    ServiceConfig,
)
from hostmesh_agent.edges.identity_disk import Membership
from hostmesh_agent.edges.probes import Check, CheckFailed
from hostmesh_agent.edges.proof import NotProven, ProofCredentials, Target
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.bundle import TrustBundles
from hostmesh_core.credentials import CertificateSet
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import Identity
from hostmesh_core.model import Protocol
from hostmesh_testing.certificates import authority
from hostmesh_testing.hosts import until

WEB = Identity("default", "web")
SERVICE = ServiceConfig(
    name="web", port=8080, protocol=Protocol.HTTP, health=HealthCheck(interval_seconds=0.1)
)
DOMAIN = "mesh.internal"


class FakeLink:
    """The host stream: what was said, in short."""

    def __init__(self) -> None:
        self.connected = True
        self.said: list[str] = []
        self.registers: list[pb.Register] = []
        self.registered: Callable[[], None] = lambda: None
        """Called after every Register, as by a control plane that answers it."""

    def register(self, register: pb.Register) -> None:
        self.registers.append(register)
        register.generation = len(self.registers)
        what = ["declared" if s.declared_only else "registered" for s in register.services]
        self.said.append(" ".join(what))
        asyncio.get_running_loop().call_soon(lambda: self.registered())

    def reconnect(self, gone: Collection[str]) -> None:
        self.said.append(f"gone {' '.join(sorted(gone))}")

    def report_health(self, report: pb.HealthReport) -> None:
        self.said.append(f"{pb.Status.Name(report.status)} {report.reason}".strip())


class FakeIdentity:
    """Whose host it is; certificates come when a test puts them in."""

    def __init__(self) -> None:
        root = authority(DOMAIN)
        leaf = root.leaf(uris=(f"spiffe://{DOMAIN}/ns/default/sa/web",))
        self.made = CertificateSet.read(leaf.key_pem, leaf.chain_pem)
        self.grant = Grant(claims=(Claim("default", "web", "web"),))
        self.membership = Membership("7f3a", DOMAIN, 0.0, "cp1:15013")
        self.bundles = TrustBundles()
        self.workloads: dict[Identity, CertificateSet] = {}
        self.refused: set[Identity] = set()


class FakeApp:
    """What stands behind Envoy: answers proofs and checks, or says why not."""

    def __init__(self) -> None:
        self.proofs: list[Target] = []
        self.not_proven = ""
        self.unwell = ""
        self.gate: asyncio.Event | None = None

    async def prove(
        self, target: Target, credentials: ProofCredentials, *, within: float
    ) -> tuple[str, float]:
        assert credentials.key_pem
        assert within > 0
        self.proofs.append(target)
        if self.gate is not None:
            await self.gate.wait()
        if self.not_proven:
            raise NotProven(self.not_proven)
        return "HTTP/1.1 200 OK", 0.01

    async def ask(self, check: Check) -> None:
        del check
        if self.unwell:
            raise CheckFailed(self.unwell)


class Play:
    """A registrar with everything it asks for in a test's hands."""

    def __init__(self, *services: ServiceConfig, capture: bool = True) -> None:
        self.link, self.identity, self.app = FakeLink(), FakeIdentity(), FakeApp()
        self.config = AgentConfig(
            control_planes=(Address(host="cp1", port=15012),),
            services=services or (SERVICE,),
            capture=CaptureConfig(enabled=capture),
        )
        asking = Asking(self.app.prove, self.app.ask)
        self.registrar = Registrar(self.config, self.link, self.identity, asking)

    @property
    def said(self) -> list[str]:
        return self.link.said

    @property
    def view(self) -> ServiceView:
        return self.registrar.views()[0]

    def certified(self) -> None:
        self.identity.workloads[WEB] = self.identity.made
        self.registrar.look_again()

    def accepted(self, **changed: object) -> None:
        verdict = pb.ServiceVerdict(
            service="web",
            port=8080,
            accepted=True,
            registered=True,
            addresses=["203.0.113.9:8080"],
            host="web.default.mesh.internal",
        )
        verdict.MergeFrom(pb.ServiceVerdict(**changed))  # type: ignore[arg-type]
        self.registrar.verdict(pb.Verdict(services=[verdict]))

    def refused(self, reason: str) -> None:
        verdict = pb.ServiceVerdict(service="web", port=8080, reason=reason)
        self.registrar.verdict(pb.Verdict(services=[verdict]))

    def everything_but(self, *lacking: str) -> None:
        """Let come what a registration needs."""
        if "certificate" not in lacking:
            self.certified()
        if "verdict" not in lacking:
            self.accepted()
        if "envoy" not in lacking:
            self.registrar.envoy(serving=True)
        if "rules" not in lacking:
            self.registrar.capture(applied=True, why="")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.registrar.run())
            await until(lambda: self.said)
            yield
            task.cancel()

    async def turns(self) -> None:
        """Let the registrar do all that it would do now."""
        await asyncio.sleep(0.05)
