"""The operator's desk with everything behind it, as a control plane has it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from hostmesh_controlplane.app.authority import Authority, Enrolled
from hostmesh_controlplane.app.mesh import Mesh, Times
from hostmesh_controlplane.app.operator import Operator
from hostmesh_controlplane.app.proxies import Proxies
from hostmesh_controlplane.config import ControlPlaneConfig
from hostmesh_controlplane.edges.operator_api import Call, Caller, Route
from hostmesh_controlplane.logic import merge
from hostmesh_controlplane.logic.callers import Told
from hostmesh_controlplane.logic.catalog import (
    CatalogEndpoint,
    CatalogService,
    SourceChanged,
    SourceStatus,
)
from hostmesh_controlplane.logic.draft import Rules
from hostmesh_controlplane.logic.tokens import TokenRequest
from hostmesh_controlplane.logic.vips import VipRanges
from hostmesh_core.errors import BadInput
from hostmesh_core.ids import EndpointKey, SpiffeId
from hostmesh_core.model import Health, InboundMode, Port, Protocol, RegisteredInstance
from hostmesh_testing import forge
from hostmesh_testing.fixed import CountingEntropy, FixedClock
from hostmesh_testing.memory_store import MemoryStore
from hostmesh_testing.proxy_streams import Viewed
from hostmesh_testing.xds import World, cluster

RULES = Rules("mesh.internal", "mesh.internal", (("files", "static"),))
REVIEWS = "reviews.default.mesh.internal"
ROOT = Caller(uid=0, pid=1, user="root")


class FakeCatalogs:
    """One source that holds three endpoints."""

    def __init__(self) -> None:
        self.status = SourceStatus("files", "static", healthy=True, synced=True, held=3)
        self.accepted: list[str] = []

    def statuses(self) -> list[SourceStatus]:
        return [self.status]

    def accept(self, source: str) -> int:
        if source != "files":
            raise BadInput(f"cannot find source {source}")
        self.accepted.append(source)
        return 3


class FakeHosts:
    """Whose stream is up, and from where."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self.silent: tuple[str, ...] = ()
        self.refusals: dict[str, tuple[str, ...]] = {}
        self.told: dict[str, list[tuple[str, Told]]] = {}
        self.modes: dict[str, dict[str, set[InboundMode]]] = {}

    def callers(self, service: str) -> list[tuple[str, Told]]:
        return self.told.get(service, [])

    def own_modes(self, service: str) -> dict[str, set[InboundMode]]:
        return self.modes.get(service, {})

    def connected(self, host_id: str) -> str:
        return self.addresses.get(host_id, "")

    def refused(self, host_id: str) -> tuple[str, ...]:
        return self.refusals.get(host_id, ())

    async def stored(self, host_id: str) -> None:
        """Everything is."""

    def held(self) -> tuple[str, ...]:
        return self.silent

    def end_held(self) -> tuple[str, ...]:
        ended, self.silent = self.silent, ()
        return ended


class Desk:
    """The operator with everything behind it, as a control plane has it."""

    def __init__(self, folder: Path, *, answer_seconds: float = 10.0) -> None:
        self.store, clock, entropy = MemoryStore(), FixedClock(), CountingEntropy()
        store = self.store
        config = ControlPlaneConfig(state_dir=str(folder))
        self.world = World(cluster("web"))
        self.proxies = Proxies(Viewed(self.world))
        self.mesh = Mesh(
            RULES,
            VipRanges(),
            store,
            on_changes=lambda _: None,
            times=Times(
                sleep=lambda _: asyncio.sleep(0.01),
                wall=clock.wall,
                answer_seconds=answer_seconds,
            ),
        )
        self.authority = Authority(config, store, clock=clock, entropy=entropy)
        self.catalogs, self.hosts = FakeCatalogs(), FakeHosts()
        operator = Operator(
            mesh=self.mesh,
            authority=self.authority,
            proxies=self.proxies,
            catalogs=self.catalogs,
            hosts=self.hosts,
            mesh_wide=InboundMode.PERMISSIVE,
        )
        self.routes: dict[str, Route] = {f"{r.method} {r.path}": r for r in operator.routes()}

    async def call(
        self, route: str, body: Mapping[str, object] | None = None, **path: str
    ) -> object:
        """Call as the socket's edge would; `host` of a read is a query."""
        query = {"host": path.pop("of")} if "of" in path else {}
        return await self.routes[route].handler(Call(path, query, body or {}, ROOT))

    async def rows(self, route: str, **path: str) -> list[dict[str, object]]:
        rows = await self.call(route, None, **path)
        assert isinstance(rows, list)
        return rows

    async def answer(
        self, route: str, body: Mapping[str, object] | None = None, **path: str
    ) -> Mapping[str, object]:
        """Call what answers with one object."""
        answer = await self.call(route, body, **path)
        assert isinstance(answer, dict)
        return answer

    async def list(self, *addresses: str, require_mesh: bool = False, weight: int = 1) -> None:
        """Let the catalog list the service at these addresses."""
        service = CatalogService(
            REVIEWS,
            "default",
            ports=(Port(9080, Protocol.HTTP),),
            short_name="reviews",
            endpoints=tuple(
                CatalogEndpoint(EndpointKey.of(a, 9080), weight=weight) for a in addresses
            ),
            require_mesh=require_mesh,
            origin="reviews.yaml:1",
        )
        event = SourceChanged("files", REVIEWS, service)
        await self.mesh.apply(lambda state: merge.source_changed(state, event))

    async def register(self, host_id: str, *addresses: str) -> None:
        """Let a host register the service at these addresses."""
        instances = tuple(
            RegisteredInstance(
                host_id=host_id,
                service=REVIEWS,
                namespace="default",
                port=Port(9080, Protocol.HTTP),
                keys=(EndpointKey.of(address, 9080),),
                workload_port=9080,
                identity=SpiffeId.parse("spiffe://mesh.internal/ns/default/sa/reviews"),
                health=Health.HEALTHY,
            )
            for address in addresses
        )
        await self.mesh.apply(lambda state: merge.register(state, host_id, instances))

    async def enrol(self, name: str) -> str:
        request = TokenRequest.parse({"service": ["reviews"]}, mesh_domain="mesh.internal")
        token, _ = await self.authority.create_token(request)
        csr = forge.pem(forge.request(forge.key(name)))
        enrolled = await self.authority.enrol(token, csr, "10.0.0.9", name)
        assert isinstance(enrolled, Enrolled), enrolled
        return enrolled.host_id


def run(
    folder: Path, play: Callable[[Desk], Awaitable[None]], *, answer_seconds: float = 10.0
) -> None:
    """Play a scene at a desk whose mesh runs."""

    async def main() -> None:
        desk = Desk(folder, answer_seconds=answer_seconds)
        await desk.authority.start()
        await desk.mesh.start()
        async with asyncio.TaskGroup() as tasks:
            merging = tasks.create_task(desk.mesh.run())
            await play(desk)
            merging.cancel()

    asyncio.run(main())
