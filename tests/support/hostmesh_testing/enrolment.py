"""A control plane's enrolment listener on a real socket, in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostmesh_agent.config import Address, AgentConfig
from hostmesh_controlplane.app.authority import Authority
from hostmesh_controlplane.app.enrolment import EnrolmentDesk
from hostmesh_controlplane.config import CertificateAuthority, ControlPlaneConfig
from hostmesh_controlplane.edges import enrolment
from hostmesh_controlplane.edges.clock import SystemClock
from hostmesh_controlplane.edges.enrolment import Desk
from hostmesh_controlplane.edges.entropy import SystemEntropy
from hostmesh_controlplane.edges.rate_limit import RateLimit
from hostmesh_controlplane.logic.tokens import TokenRequest
from hostmesh_testing.memory_store import MemoryStore


@dataclass
class Server:
    """A running one. `desk` may be replaced by a lying one while it runs."""

    loop: asyncio.AbstractEventLoop
    authority: Authority
    address: Address
    reload: Callable[[bytes, bytes], None]

    def renew_serving(self) -> None:
        """Give the listener a new key and certificate."""

        async def renew() -> None:
            await self.authority.renew_serving()
            self.reload(*self.authority.serving_credentials())

        asyncio.run_coroutine_threadsafe(renew(), self.loop).result(5)

    @property
    def agent_config(self) -> AgentConfig:
        return AgentConfig(control_planes=(self.address,), enrolment=self.address)

    def token(self, **body: object) -> str:
        """Make a token, for service reviews unless said otherwise."""
        request = TokenRequest.parse({"service": ["reviews"], **body}, mesh_domain="mesh.internal")
        future = asyncio.run_coroutine_threadsafe(self.authority.create_token(request), self.loop)
        return future.result(5)[0]


class ShiftedClock(SystemClock):
    """A clock that is wrong by so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def wall(self) -> float:
        return super().wall() + self._seconds


@contextmanager
def enrolment_server(
    folder: Path,
    *,
    wrap: "type[LyingDesk] | None" = None,
    shown: tuple[bytes, bytes] | None = None,
    clock: SystemClock | None = None,
    limit: RateLimit | None = None,
) -> Iterator[Server]:
    """Run one on 127.0.0.1. `shown`: another key and chain than the authority's own."""
    ready = threading.Event()
    result: list[Server] = []
    stop = asyncio.Event()

    async def main() -> None:
        config = ControlPlaneConfig(
            state_dir=str(folder), ca=CertificateAuthority(leaf_hours=1, outage_hours=0)
        )
        used_clock, entropy = clock or SystemClock(), SystemEntropy()
        authority = Authority(config, MemoryStore(), clock=used_clock, entropy=entropy)
        await authority.start()
        desk: Desk = EnrolmentDesk(authority, clock=used_clock, entropy=entropy)
        if wrap is not None:
            desk = wrap(desk)
        async with enrolment.serve(
            "127.0.0.1:0",
            desk,
            credentials=shown or authority.serving_credentials(),
            clock=used_clock,
            limit=limit,
        ) as listening:
            host, port = listening.address
            address = Address(host=host, port=port)
            loop = asyncio.get_running_loop()
            result.append(Server(loop, authority, address, listening.reload))
            ready.set()
            await stop.wait()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    try:
        assert ready.wait(10), "the enrolment server did not start"
        yield result[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


class LyingDesk:
    """Passes everything on to the true desk; a test's subclass changes what it says."""

    def __init__(self, true: Desk) -> None:
        self.true = true

    def bundle(self) -> enrolment.Reply:
        return self.true.bundle()

    def challenge(self) -> enrolment.Reply:
        return self.true.challenge()

    async def enrol(self, body: Mapping[str, object], address: str) -> enrolment.Reply:
        return await self.true.enrol(body, address)
