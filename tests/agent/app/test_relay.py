"""A real control plane's ADS over mutual TLS → the relay → a real Envoy that answers requests."""

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hostmesh_agent.app.relay import RelayCallbacks, RelayPaths, RelayService
from hostmesh_agent.logic.relay_facts import MeshFacts
from hostmesh_core.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE
from hostmesh_testing import xds_bench
from hostmesh_testing.certificates import authority
from hostmesh_testing.tcp_middleman import Middleman
from hostmesh_testing.xds_bench import ControlPlane, Envoy

pytestmark = pytest.mark.process

NO_PORT = 70_000
"""Envoy refuses a listener on it."""


@dataclass
class Bench:
    """Everything of one test, in one folder."""

    folder: Path
    plane: ControlPlane = field(default_factory=ControlPlane)
    port: int = field(default_factory=xds_bench.free_port)
    applied: list[tuple[str, str, str]] = field(default_factory=list)
    rejected: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    facts: list[MeshFacts] = field(default_factory=list)
    warming: set[str] | None = None
    envoy: Envoy | None = None

    @property
    def socket(self) -> str:
        return str(self.folder / "xds.sock")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def relay(self, *more: ControlPlane) -> RelayService:
        async def warming(_epoch: int | None) -> frozenset[str] | None:
            assert self.envoy is not None
            if not await self.envoy.ask("/ready"):
                return None
            return frozenset(await self.envoy.clusters("dynamic_warming_clusters"))

        (self.folder / "xds").mkdir(exist_ok=True)
        return RelayService(
            RelayPaths(xds_dir=str(self.folder / "xds"), xds_socket=self.socket),
            control_planes=[plane.address for plane in (self.plane, *more)],
            callbacks=RelayCallbacks(
                on_applied=lambda *said: self.applied.append(said),
                on_rejected=lambda *said: self.rejected.append(said),
                on_generation=self.facts.append,
                on_problem=self.problems.append,
            ),
            warming=warming,
        )

    @asynccontextmanager
    async def relaying(self, *more: ControlPlane) -> AsyncIterator[RelayService]:
        """Run a relay with a certificate until left."""
        service = self.relay(*more)
        async with running(service):
            service.set_credentials(self.plane.credentials())
            yield service

    @asynccontextmanager
    async def with_envoy(self) -> AsyncIterator[Envoy]:
        async with xds_bench.running_envoy(
            self.folder, self.socket, base_id=xds_bench.own_base_id()
        ) as envoy:
            self.envoy = envoy
            yield envoy

    def serve(self, backend: int) -> None:
        """Let the control plane serve one listener that leads to this backend."""
        self.plane.put(
            xds_bench.eds_cluster("web"),
            xds_bench.endpoints("web", backend),
            xds_bench.http_listener("in", self.port, "80"),
            xds_bench.route("80", "web"),
        )

    async def answers(self, body: str, seconds: float = 10.0) -> None:
        await until(lambda: self._asks(body), f"{body!r} from {self.address}", seconds)

    async def asks_other(self, body: str) -> bool:
        return await xds_bench.http(self.address) != body

    async def _asks(self, body: str) -> bool:
        return await xds_bench.http(self.address) == body


@asynccontextmanager
async def running(service: RelayService) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(service.run())
        try:
            yield
        finally:
            task.cancel()


async def until(
    condition: Callable[[], object | Awaitable[object]], what: str, seconds: float = 10.0
) -> None:
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, f"{what} did not come in {seconds:g} s"
        await asyncio.sleep(0.02)


def run(folder: Path, scenario: Callable[[Bench], Awaitable[None]]) -> Bench:
    bench = Bench(folder)

    async def main() -> None:
        async with asyncio.timeout(60):
            await scenario(bench)

    asyncio.run(main())
    return bench


def test_a_request_passes_and_what_was_applied_is_reported(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with (
            xds_bench.backend("one") as one,
            bench.plane.running() as plane,
            bench.relaying() as relay,
        ):
            bench.serve(one)
            await asyncio.wait_for(relay.wait_generation(), 10)
            async with bench.with_envoy() as envoy:
                await bench.answers("one")
                (session,) = plane.open_sessions
                expected = {CLUSTER, ENDPOINT, LISTENER, ROUTE}
                await until(lambda: {said[0] for said in bench.applied} == expected, "Applied")
                assert {said[2] for said in bench.applied} == {session.peer.stream_id}
                assert relay.stream_id == session.peer.stream_id
                assert relay.generation_age == 0.0
                assert relay.envoy_streams == 1
                assert {ack.type_url for ack in session.acked} == expected
                assert not session.nacked
                assert await envoy.counter("cluster_manager.cds.update_rejected") == 0
                sent = session.sent
                bench.applied.clear()
                async with xds_bench.backend("two") as two:
                    plane.put(xds_bench.endpoints("web", two))
                    await bench.answers("two")
                    assert session.sent == sent
                    version = session.stream.status()[ENDPOINT].sent
                    said = (ENDPOINT, version, session.peer.stream_id)
                    await until(lambda: said in bench.applied, f"{said}")

    assert run(tmp_path, scenario).problems == []


def test_the_socket_is_for_the_group_and_nobody_else(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with running(bench.relay()):
            await until(lambda: Path(bench.socket).exists(), "the socket")
            assert stat.S_IMODE(Path(bench.socket).stat().st_mode) == 0o660
            before = os.umask(0o022)
            os.umask(before)
            assert before != 0o117

    run(tmp_path, scenario)


def test_a_changed_cluster_is_never_warming_one_second_after_a_push(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with (
            xds_bench.backend("one") as one,
            bench.plane.running() as plane,
            bench.relaying(),
            bench.with_envoy() as envoy,
        ):
            bench.serve(one)
            await bench.answers("one")
            for attempt in range(3):
                plane.put(xds_bench.eds_cluster("web", timeout=f"{attempt + 2}s"))
                await asyncio.sleep(1)
                assert await envoy.clusters("dynamic_warming_clusters") == set()
                text = await envoy.ask("/config_dump?resource=dynamic_active_clusters")
                assert f'"connect_timeout": "{attempt + 2}s"' in text
            await bench.answers("one")

    run(tmp_path, scenario)


def test_the_detector_of_warming_clusters_sees_one_that_warms(tmp_path: Path) -> None:
    """The control case: a cluster whose assignment never comes must show."""

    async def scenario(bench: Bench) -> None:
        async with (
            xds_bench.backend("one") as one,
            bench.plane.running() as plane,
            bench.relaying() as relay,
            bench.with_envoy() as envoy,
        ):
            bench.serve(one)
            await bench.answers("one")
            plane.put(
                xds_bench.eds_cluster("late", secret="default:a/b"),
                xds_bench.endpoints("late", one),
            )
            await asyncio.sleep(1)
            assert await envoy.clusters("dynamic_warming_clusters") == {"late"}
            relay.set_secrets(
                [
                    xds_bench.certificate_secret(
                        "default:a/b", plane.root.leaf(uris=("spiffe://a/b",))
                    )
                ]
            )
            await asyncio.sleep(1)
            assert await envoy.clusters("dynamic_warming_clusters") == set()

    run(tmp_path, scenario)


def test_a_route_to_a_cluster_whose_secret_is_late_gives_no_503(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with (
            xds_bench.backend("one") as one,
            bench.plane.running() as plane,
            bench.relaying() as relay,
            bench.with_envoy() as envoy,
        ):
            bench.serve(one)
            await bench.answers("one")
            seen: set[str] = set()
            plane.put(
                xds_bench.eds_cluster("v2", secret="default:a/b"),
                xds_bench.endpoints("v2", one),
                xds_bench.route("80", "v2"),
            )
            plane.drop(CLUSTER, "web")
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                seen.add(await xds_bench.http(bench.address))
            assert seen == {"one"}, "the old route serves while the new one's cluster warms"
            relay.set_secrets(
                [
                    xds_bench.certificate_secret(
                        "default:a/b", plane.root.leaf(uris=("spiffe://a/b",))
                    )
                ]
            )
            # The backend speaks no TLS: that the new route is in shows by its failure to connect.
            await until(lambda: bench.asks_other("one"), "the new route", 3)
            assert not [problem for problem in bench.problems if "active" in problem]
            await until(lambda: _gone(envoy, "web"), "the old cluster's end", 3)

    run(tmp_path, scenario)


async def _gone(envoy: Envoy, name: str) -> bool:
    return name not in await envoy.clusters("dynamic_active_clusters")


def test_patience_ends_after_five_seconds_and_says_so(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with (
            xds_bench.backend("one") as one,
            bench.plane.running() as plane,
            bench.relaying(),
            bench.with_envoy(),
        ):
            bench.serve(one)
            await bench.answers("one")
            began = time.monotonic()
            plane.put(
                xds_bench.eds_cluster("v2", secret="default:a/b"),
                xds_bench.endpoints("v2", one),
                xds_bench.route("80", "v2"),
            )
            await until(lambda: any("v2" in problem for problem in bench.problems), "the word")
            assert 4.5 < time.monotonic() - began < 7

    run(tmp_path, scenario)


def test_without_control_plane_all_goes_on_and_the_next_agent_serves_what_is_stored(
    tmp_path: Path,
) -> None:
    async def scenario(bench: Bench) -> None:
        async with xds_bench.backend("one") as one, bench.with_envoy() as envoy:
            async with bench.plane.running(), bench.relaying() as relay:
                bench.serve(one)
                await bench.answers("one")
                await until(lambda: relay.is_connected, "the stream")
            # Both are gone: Envoy goes on alone.
            await bench.answers("one")
            updates = await envoy.counter("listener_manager.lds.update_success")
            async with bench.relaying() as relay:
                assert relay.has_generation
                await until(lambda: relay.envoy_streams == 1, "Envoy's return")
                await bench.answers("one")
                assert (relay.generation_age or 99) < 30
                assert await envoy.counter("listener_manager.listener_modified") == 0
                assert await envoy.counter("listener_manager.listener_removed") == 0
                # Another Envoy comes up from what is stored.
                other = tmp_path / "other"
                other.mkdir()
                await asyncio.sleep(0.3)
                envoy.process.kill()
                await envoy.process.wait()
                bench.folder = other
                socket = str(tmp_path / "xds.sock")
                async with xds_bench.running_envoy(
                    other, socket, base_id=xds_bench.own_base_id() + 1
                ):
                    await bench.answers("one", 5)
            assert updates > 0

    run(tmp_path, scenario)


def test_a_control_plane_that_returns_costs_no_resource_bytes(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with (
            xds_bench.backend("one") as one,
            xds_bench.backend("two") as two,
            bench.with_envoy(),
        ):
            async with bench.plane.running():
                bench.serve(one)
            async with bench.relaying() as relay:
                async with bench.plane.running():
                    await bench.answers("one")
                await until(lambda: not relay.is_connected, "the loss")
                await bench.answers("one")
                async with bench.plane.running() as plane:
                    await until(lambda: relay.is_connected, "the return")
                    await asyncio.sleep(0.3)
                    assert plane.sessions[-1].sent == 0
                    plane.put(xds_bench.endpoints("web", two))
                    await bench.answers("two")

    run(tmp_path, scenario)


def test_another_control_plane_takes_over_within_three_seconds(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        second = ControlPlane(root=bench.plane.root, world=bench.plane.world)
        async with (
            xds_bench.backend("one") as one,
            second.running(),
            bench.with_envoy(),
            bench.plane.running(),
        ):
            bench.serve(one)
            async with bench.relaying(second) as relay:
                await bench.answers("one")
                planes = {bench.plane.address: bench.plane, second.address: second}
                serving = planes[relay.control_plane]
                serving.open_sessions[0].push.close("cannot go on: stopping")
                began = time.monotonic()
                await until(lambda: relay.control_plane not in ("", serving.address), "the other")
                assert time.monotonic() - began < 3

    run(tmp_path, scenario)


def test_a_renewed_certificate_opens_the_new_stream_before_the_old_one_ends(
    tmp_path: Path,
) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.plane.running() as plane, bench.relaying() as relay:
            await until(lambda: relay.is_connected, "the stream")
            old = plane.sessions[0]
            fewest = 1
            stranger = authority().leaf(uris=(xds_bench.HOST_ID,))
            relay.set_credentials(plane.credentials(stranger))
            await asyncio.sleep(0.5)
            assert old.open, "a certificate that is not taken must not cost the stream"
            leaf = plane.root.leaf(uris=(xds_bench.HOST_ID,))
            relay.set_credentials(plane.credentials(leaf))
            while len(plane.sessions) < 2:
                fewest = min(fewest, len(plane.open_sessions))
                await asyncio.sleep(0)
            assert fewest == 1
            await until(lambda: not old.open, "the old stream's end")
            assert plane.sessions[-1].peer.serial == leaf.serial
            assert relay.stream_id == plane.sessions[-1].peer.stream_id

    run(tmp_path, scenario)


def test_a_bad_resource_is_rejected_by_name_and_the_last_good_one_serves(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with (
            xds_bench.backend("one") as one,
            bench.plane.running() as plane,
            bench.relaying(),
            bench.with_envoy(),
        ):
            bench.serve(one)
            await bench.answers("one")
            other = xds_bench.free_port()
            plane.put(
                xds_bench.http_listener("in", NO_PORT, "80"),
                xds_bench.http_listener("good", other, "80"),
            )
            await until(lambda: bench.rejected, "the rejection")
            (type_url, name, _, detail, stream_id) = bench.rejected[0]
            assert (type_url, name) == (LISTENER, "in")
            assert detail
            assert stream_id == plane.sessions[0].peer.stream_id
            await bench.answers("one")
            bench.port = other
            await bench.answers("one")

    run(tmp_path, scenario)


def test_a_crash_loop_leads_back_to_the_last_good_one_and_news_lead_on(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with (
            xds_bench.backend("one") as one,
            xds_bench.backend("two") as two,
            xds_bench.backend("three") as three,
            bench.plane.running() as plane,
            bench.relaying() as relay,
            bench.with_envoy(),
        ):
            bench.serve(one)
            await bench.answers("one")
            assert not relay.fall_back(), "nothing is known to be good yet"
            relay.mark_good()
            plane.put(xds_bench.endpoints("web", two))
            await bench.answers("two")
            assert relay.fall_back()
            await bench.answers("one")
            plane.put(xds_bench.endpoints("web", three))
            await bench.answers("three")

    run(tmp_path, scenario)


def test_the_stored_facts_are_told_when_it_runs_and_known_before(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.plane.running(), bench.relaying() as relay:
            bench.serve(9)
            await asyncio.wait_for(relay.wait_generation(), 10)
        bench.facts.clear()
        again = bench.relay()
        assert again.has_generation
        assert bench.facts == []
        async with running(again):
            await until(lambda: bench.facts == [again.facts()], "the facts")

    run(tmp_path, scenario)


def test_a_control_plane_that_falls_silent_is_left_within_three_and_a_half_seconds(
    tmp_path: Path,
) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.plane.running() as plane, Middleman(plane.port).running() as middleman:
            silent = ControlPlane(port=middleman.port)
            service = bench.relay(silent)
            async with running(service):
                service.set_credentials(plane.credentials())
                addresses = {silent.address, plane.address}
                while service.control_plane != silent.address:
                    await until(lambda: service.control_plane in addresses, "a stream")
                    if service.control_plane == plane.address:
                        plane.open_sessions[-1].push.close("cannot go on: go to the other")
                        await until(lambda: service.control_plane != plane.address, "its end")
                middleman.freeze()
                began = time.monotonic()
                await until(lambda: service.control_plane == plane.address, "the other", 10)
                assert time.monotonic() - began < 3.5

    run(tmp_path, scenario)


def test_a_proven_credential_is_the_one_of_the_open_stream(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.plane.running() as plane, bench.relaying() as relay:
            await until(lambda: relay.is_connected, "the stream")
            first = relay.credentials_in_use
            second = plane.credentials()
            relay.set_credentials(second)
            assert relay.credentials_in_use is first
            await until(lambda: relay.credentials_in_use is second, "the new one")

    run(tmp_path, scenario)


def test_a_cluster_that_has_no_endpoints_at_all_does_not_warm_for_ever(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with (
            xds_bench.backend("one") as one,
            bench.plane.running() as plane,
            bench.relaying() as relay,
            bench.with_envoy() as envoy,
        ):
            bench.serve(one)
            await bench.answers("one")
            plane.put(xds_bench.eds_cluster("lonely"))
            await until(lambda: relay.waits_for == (), "the word that there is none")
            await asyncio.sleep(1)
            assert await envoy.clusters("dynamic_warming_clusters") == set()
            assert "lonely" in await envoy.clusters("dynamic_active_clusters")

    run(tmp_path, scenario)


def test_two_envoys_at_once_are_both_served_and_neither_is_sent_away(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        other = tmp_path / "other"
        other.mkdir()
        async with (
            xds_bench.backend("one") as one,
            xds_bench.backend("two") as two,
            bench.plane.running() as plane,
            bench.relaying() as relay,
            bench.with_envoy() as first,
            xds_bench.running_envoy(
                other, bench.socket, base_id=xds_bench.own_base_id() + 1
            ) as second,
        ):
            bench.serve(one)
            await until(lambda: relay.envoy_streams == 2, "both")
            await bench.answers("one")
            plane.put(xds_bench.endpoints("web", two))
            version = plane.sessions[0].stream.status()[ENDPOINT].sent
            said = (ENDPOINT, version, plane.sessions[0].peer.stream_id)
            await until(lambda: said in bench.applied, "both have it")
            for envoy in (first, second):
                found = await envoy.ask("/clusters?format=json")
                assert f'"port_value": {two}' in found
                assert f'"port_value": {one}' not in found
            await asyncio.sleep(2)
            for envoy in (first, second):
                assert await envoy.counter("cluster.relay.upstream_cx_total") == 1

    run(tmp_path, scenario)
