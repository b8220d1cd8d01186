"""An enrolled host's agent on loopback: its real host stream, and whatever it likes to say on it.

Both live in one event loop of a thread of its own, so that tests stay plain functions.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from hostmesh_agent.app.host import AgentFacts, HostListeners, HostService
from hostmesh_agent.app.identity import IssueResult
from hostmesh_agent.edges import keys, xds_upstream
from hostmesh_agent.edges.clock import SystemClock
from hostmesh_agent.edges.entropy import SystemEntropy
from hostmesh_agent.edges.xds_upstream import Credentials, UpstreamLost
from hostmesh_core import names, x509
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.ids import Identity
from hostmesh_testing.plane_process import EnrolledHost
from hostmesh_testing.waiting import wait_until

T = TypeVar("T")
ANSWER_SECONDS = 15.0


class LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T], *, seconds: float = ANSWER_SECONDS) -> T:
        """Run to the end and give the result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


class MeshedHost:
    """One host and its stream."""

    def __init__(self, loop: LoopThread, host: EnrolledHost, address: str) -> None:
        self.host = host
        self.address = address
        self.verdicts: list[pb.Verdict] = []
        self.revoked: list[str] = []
        self.lost: list[str] = []
        self._loop = loop
        self._stop = asyncio.Event()
        self.service = HostService(
            [address],
            self.credentials,
            facts=AgentFacts(agent_version="0.1", hostname="test"),
            clock=SystemClock(),
            entropy=SystemEntropy(),
            listeners=HostListeners(
                on_verdict=self.verdicts.append,
                on_revoked=self.revoked.append,
                on_lost=self.lost.append,
            ),
        )

    @property
    def host_id(self) -> str:
        return self.host.host_id

    @property
    def credentials(self) -> Credentials:
        stored = self.host.stored
        domain = stored.membership.trust_domain
        return Credentials(
            stored.host.key_pem,
            stored.host.chain_pem,
            stored.bundles.roots_pem(domain),
            names.control_plane_host(domain),
        )

    async def run(self) -> None:
        """Keep the stream up until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.service.run())
            await self._stop.wait()
            running.cancel()

    async def stop(self) -> None:
        self._stop.set()

    def connected(self) -> bool:
        return self.service.connected

    def register(self, *services: pb.ServiceRegistration, **more: Any) -> pb.Verdict:
        """Send a complete Register and wait for its Verdict."""

        async def send() -> int:
            message = pb.Register(services=services, **more)
            self.service.register(message)
            return message.generation

        wanted = self._loop.do(send())
        wait_until(
            lambda: any(verdict.generation >= wanted for verdict in self.verdicts),
            what=f"a verdict on generation {wanted}",
        )
        return self.verdicts[-1]

    def certificate(self, csr_der: bytes, identity: Identity | None) -> IssueResult:
        """Ask for a certificate; `identity` None = the host's own."""
        return self._loop.do(self.service.request_certificate(csr_der, identity))

    def workload_credentials(self, identity: Identity) -> Credentials:
        """Ask for a workload's certificate, as its agent would, and give it as credentials."""
        made = keys.new_key()
        issued = self.certificate(made.csr_der, identity)
        assert not issued.refused, issued.refused
        chain = x509.to_pem([x509.load_der(der) for der in issued.chain_der])
        own = self.credentials
        return Credentials(made.key_pem, chain, own.roots_pem, own.target_name)

    def report(self, body: pb.HealthReport | pb.Applied | pb.Rejected) -> None:
        """Send a report, and wait until what was sent before and after it is taken in."""

        async def send() -> None:
            match body:
                case pb.HealthReport():
                    self.service.report_health(body)
                case pb.Applied():
                    self.service.applied(body.type_url, body.version, body.stream_id)
                case pb.Rejected():
                    self.service.rejected(body)

        self._loop.do(send())
        self.certificate(b"", Identity("nobody", "nobody"))  # answered after what came before it

    def drain(self, *services: str) -> bool:
        return self._loop.do(self.service.drain(services))

    def resources(
        self, type_url: str, *subscribe: str, node: str = ""
    ) -> tuple[dict[str, bytes], str]:
        """Ask for resources on an ADS stream; give those of the first answer and the stream's id.

        Nothing where the control plane has nothing to say.
        """
        return self._loop.do(self._resources(type_url, subscribe, node))

    async def _resources(
        self, type_url: str, subscribe: tuple[str, ...], node: str
    ) -> tuple[dict[str, bytes], str]:
        request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=subscribe)
        request.node.id = node or self.host_id
        async with xds_upstream.connect(self.address, self.credentials) as stream:
            await stream.send(request)
            try:
                async with asyncio.timeout(2.0):
                    answer = await stream.receive()
            except TimeoutError:
                return {}, stream.stream_id
            found = {one.name: one.resource.SerializeToString() for one in answer.resources}
            return found, stream.stream_id


def refused_xds(loop: LoopThread, address: str, credentials: Credentials) -> str:
    """Give the words with which an ADS stream is refused; fail where it is taken."""

    async def attempt() -> str:
        try:
            async with xds_upstream.connect(address, credentials) as stream:
                await stream.receive()
        except UpstreamLost as error:
            return str(error)
        raise AssertionError("the stream was taken and answered")

    return loop.do(attempt())


@contextmanager
def meshed_host(loop: LoopThread, host: EnrolledHost, address: str) -> Iterator[MeshedHost]:
    """Run a host until left; it is connected when given."""
    meshed = MeshedHost(loop, host, address)
    ended = asyncio.run_coroutine_threadsafe(meshed.run(), loop.loop)
    try:
        wait_until(meshed.connected, what="a connected host")
        yield meshed
    finally:
        loop.do(meshed.stop())
        ended.result(10)


@contextmanager
def loop_thread() -> Iterator[LoopThread]:
    thread = LoopThread()
    try:
        yield thread
    finally:
        thread.stop()
