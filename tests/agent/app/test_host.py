import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from hostmesh_agent.app import host as host_module
from hostmesh_agent.app.host import HostService
from hostmesh_controlplane.app.host_contracts import HostsConfig
from hostmesh_controlplane.edges.entropy import SystemEntropy
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput, Unreachable
from hostmesh_core.ids import EndpointKey, Identity
from hostmesh_testing.host_agent import WEB, Heard, agent, registered
from hostmesh_testing.hosts import DOMAIN, GRANT, HOST, LoopbackControlPlane, until

pytestmark = pytest.mark.process


def test_a_host_registers_keeps_its_lease_and_loses_it_when_it_falls_silent() -> None:
    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        async with plane.running() as hosts:
            async with agent(plane, heard) as host:
                host.register(pb.Register(services=[WEB]))
                await until(lambda: heard.verdicts)
                await asyncio.sleep(2.0)
                assert registered(plane), "renewals must keep a lease of 1.5 s"
                assert hosts.connected() == (HOST,)
                assert host.peer_address == "127.0.0.1"
            await until(lambda: f"lease ended {HOST[:4]} 1" in plane.mesh.told)
        verdict = heard.verdicts[0].services[0]
        assert (verdict.accepted, verdict.host) == (True, f"web.default.{DOMAIN}")
        assert list(verdict.addresses) == ["127.0.0.1:8080"]

    asyncio.run(play())


def test_a_restarted_control_plane_is_told_everything_again_and_ends_nobody() -> None:
    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        async with asyncio.TaskGroup() as tasks:
            stop, stopped = asyncio.Event(), asyncio.Event()

            async def first_life() -> None:
                async with plane.running():
                    await stop.wait()
                stopped.set()

            tasks.create_task(first_life())
            await until(lambda: plane.port)
            async with agent(plane, heard) as host:
                host.register(pb.Register(services=[WEB]))
                await until(lambda: heard.verdicts)
                host.report_health(
                    pb.HealthReport(
                        service="web", workload_port=8080, status=pb.STATUS_UNHEALTHY, reason="503"
                    )
                )
                await until(lambda: plane.mesh.instances[HOST][0].reasons == ("503",))
                await asyncio.sleep(0.2)
                stop.set()
                await stopped.wait()
                await until(lambda: heard.lost)
                plane.mesh.instances.clear()
                async with plane.running():
                    assert plane.mesh.instances[HOST][0].reasons == ("503",), "restored"
                    before = len(heard.verdicts)
                    await until(lambda: len(heard.verdicts) > before)
                    await asyncio.sleep(2.0)
                    assert plane.mesh.instances[HOST][0].reasons == ("503",)
                    assert not [line for line in plane.mesh.told if line.startswith("lease")]

    asyncio.run(play())


def test_a_renewed_certificate_opens_a_new_stream_before_the_old_one_ends() -> None:
    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        async with plane.running(), agent(plane, heard) as host:
            host.register(pb.Register(services=[WEB]))
            await until(lambda: heard.verdicts)
            for count in range(2, 5):
                host.set_credentials(plane.credentials())
                await until(lambda count=count: heard.welcomes == count)  # type: ignore[misc]
                assert host.connected
            assert heard.lost == []
            assert not [line for line in plane.mesh.told if line.startswith(("lease", "disco"))]

    asyncio.run(play())


def test_certificates_are_issued_once_per_request_and_refusals_are_told() -> None:
    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        async with plane.running(), agent(plane, heard) as host:
            own, workload, foreign = await asyncio.gather(
                host.request_certificate(b"csr-1", None),
                host.request_certificate(b"csr-2", Identity("default", "web")),
                host.request_certificate(b"csr-3", Identity("prod", "payments")),
            )
        assert own.chain_der == (b"signed csr-1",)
        assert workload.chain_der == (b"signed csr-2",)
        assert foreign.refused == "cannot issue a certificate of prod/payments"
        assert len(plane.authorities.asked) == 3

    asyncio.run(play())


def test_a_request_made_while_no_control_plane_answers_is_answered_when_one_does() -> None:
    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        async with plane.running():
            pass
        async with agent(plane, heard) as host, asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(host.request_certificate(b"csr", None))
            await until(lambda: heard.lost)
            async with plane.running():
                assert (await asked).chain_der == (b"signed csr",)

    asyncio.run(play())


def test_questions_are_answered_refused_and_given_up_in_time() -> None:
    async def answer(kind: str, args: Any) -> bytes:
        if kind == "slow":
            await asyncio.sleep(5)
        if kind == "refused":
            raise BadInput("cannot show the key")
        if kind == "broken":
            raise RuntimeError("a bug")
        return f"{kind} {args['path']}".encode()

    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        async with plane.running() as hosts, agent(plane, heard, on_query=answer) as host:
            await until(lambda: host.connected)
            found = await hosts.query(HOST, "admin", {"path": "/clusters"})
            assert found.body == b"admin /clusters"
            slow = await hosts.query(HOST, "slow", {"path": "/"}, seconds=0.3)
            assert "within 300 ms" in slow.error
            refused = await hosts.query(HOST, "refused", {})
            assert refused.error == "cannot show the key"
            broken = await hosts.query(HOST, "broken", {})
            assert "RuntimeError" in broken.error
            assert host.connected, "a bug in an answer does not end the session"

    asyncio.run(play())


def test_a_revoked_host_is_cut_off_and_stays_out() -> None:
    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        async with plane.running() as hosts, agent(plane, heard) as host:
            host.register(pb.Register(services=[WEB]))
            await until(lambda: registered(plane))
            plane.authorities.records[HOST] = replace(plane.authorities.records[HOST], revoked=True)
            hosts.reevaluate(HOST)
            await until(lambda: heard.revoked and heard.lost)
            assert not registered(plane)
            assert "revoked" in host.lost
            await asyncio.sleep(0.5)
            assert not host.connected

    asyncio.run(play())


def test_reports_reach_the_control_plane_also_those_made_before_it_answers() -> None:
    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        async with agent_before(plane, heard) as host:
            host.applied("cds", "1", "old")
            host.applied("cds", "2", "stream")
            host.rejected(pb.Rejected(type_url="lds", name="a", detail="no"))
            host.use(["b", "a"])
            async with plane.running():
                await until(lambda: plane.mesh.told and "use" in plane.mesh.told[-1])
        assert [applied.version for applied in plane.mesh.applied] == ["2"], "the newest counts"
        assert plane.mesh.rejected[0].name == "a"
        assert "use 7f3a a,b" in plane.mesh.told

    @asynccontextmanager
    async def agent_before(plane: LoopbackControlPlane, heard: Heard) -> AsyncIterator[HostService]:
        async with plane.running():
            pass
        async with agent(plane, heard) as host:
            yield host

    asyncio.run(play())


def test_a_silent_authority_leaves_the_request_unanswered_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host_module, "ISSUE_SECONDS", 0.1)

    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        plane.authorities.broken = Unreachable("cannot reach the signer")
        async with plane.running(), agent(plane, heard) as host:
            await until(lambda: host.connected)
            with pytest.raises(Unreachable, match="the control plane is silent"):
                await host.request_certificate(b"csr", None)
            plane.authorities.broken = None
            assert (await host.request_certificate(b"csr", None)).chain_der == (b"signed csr",)

    asyncio.run(play())


def test_the_next_control_plane_is_used_when_one_does_not_answer() -> None:
    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        async with plane.running():
            addresses = ("127.0.0.1:1", plane.address)
            async with agent(plane, heard, addresses=addresses) as host:
                await until(lambda: host.connected, seconds=3)
                assert host.control_plane == plane.address

    asyncio.run(play())


class Forwarder:
    """A wire to a port that can go dead without a word, as a cut or SIGSTOP does."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._alive = asyncio.Event()
        self._alive.set()
        self.port = 0

    def die(self) -> None:
        self._alive.clear()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:

            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                there, back = await asyncio.open_connection("127.0.0.1", self._target)
                tasks.create_task(self._pass_on(reader, back))
                tasks.create_task(self._pass_on(there, writer))

            server = await asyncio.start_server(connected, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            yield
            server.close()
            self._alive.set()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._alive.wait()
                writer.write(data)
        except ConnectionError:
            pass
        writer.close()


def test_a_control_plane_that_goes_silent_is_left_within_seconds() -> None:
    class First(SystemEntropy):
        def jitter(self) -> float:
            return 0.0

    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        config = HostsConfig(trust_domain=DOMAIN)
        async with plane.running(config=config):
            wire = Forwarder(plane.port)
            async with wire.serving():
                addresses = (f"127.0.0.1:{wire.port}", plane.address)
                async with agent(plane, heard, addresses=addresses, entropy=First()) as host:
                    host.register(pb.Register(services=[WEB]))
                    await until(lambda: registered(plane))
                    assert host.control_plane == addresses[0]
                    wire.die()
                    began = asyncio.get_running_loop().time()
                    await until(lambda: host.control_plane == addresses[1])
                    assert asyncio.get_running_loop().time() - began < 4.0
                    assert registered(plane)
        assert not [line for line in plane.mesh.told if line.startswith("lease")]

    asyncio.run(play())


def test_the_other_address_family_is_proven_by_a_second_stream() -> None:
    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        keys: set[EndpointKey] = set()
        async with plane.running(listen="[::]") as hosts:  # noqa: SIM117 (the port comes from it)
            async with agent(plane, heard, addresses=(f"localhost:{plane.port}",)) as host:
                host.register(pb.Register(services=[WEB]))
                await until(lambda: len(host.addresses) == 2)
                await until(lambda: len(hosts.instances(HOST)[0].keys) == 2)
                keys = set(hosts.instances(HOST)[0].keys)
        assert keys == {EndpointKey("", "127.0.0.1", 8080), EndpointKey("", "::1", 8080)}

    asyncio.run(play())


def test_a_grant_that_changes_reaches_the_host_at_once() -> None:
    async def play() -> None:
        plane, heard = LoopbackControlPlane(HOST), Heard()
        config = HostsConfig(trust_domain=DOMAIN)
        async with plane.running(config=config) as hosts, agent(plane, heard) as host:
            host.register(pb.Register(services=[WEB]))
            await until(lambda: registered(plane))
            plane.authorities.records[HOST].grant = replace(GRANT, claims=())
            hosts.reevaluate(HOST)
            await until(lambda: not registered(plane))
            await until(lambda: host.grant is not None and host.grant.claims == ())
            assert "refused" in heard.verdicts[-1].services[0].reason

    asyncio.run(play())
