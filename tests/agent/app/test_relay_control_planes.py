"""Control planes come, go, fall silent and contradict each other; the relay serves on."""

import asyncio
import time
from pathlib import Path

import pytest

from hostmesh_testing import xds_bench
from hostmesh_testing.certificates import authority
from hostmesh_testing.relay_bench import Bench, run, running, until
from hostmesh_testing.tcp_middleman import Middleman
from hostmesh_testing.xds_bench import ControlPlane

pytestmark = pytest.mark.process


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
