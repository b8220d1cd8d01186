"""A real control plane's ADS over mutual TLS → the relay → a real Envoy that answers requests."""

import asyncio
import os
import socket
import stat
import time
from functools import partial
from pathlib import Path

import pytest

from hostmesh_core.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE
from hostmesh_testing import xds_bench
from hostmesh_testing.relay_bench import Bench, run, running, until
from hostmesh_testing.xds_bench import Envoy

pytestmark = pytest.mark.process

NO_PORT = 70_000
"""Envoy refuses a listener on it."""


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


def test_a_listener_whose_port_is_taken_comes_when_the_port_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostmesh_agent.app.relay.RETRY_SECONDS", 0.3)

    async def scenario(bench: Bench) -> None:
        async with (
            xds_bench.backend("one") as one,
            bench.plane.running(),
            bench.relaying(),
            bench.with_envoy() as envoy,
        ):
            with socket.socket() as squatter:
                squatter.bind(("127.0.0.1", bench.port))
                squatter.listen()
                bench.serve(one)
                await until(lambda: bench.rejected, "the refusal")
                await asyncio.sleep(1)
                assert [(said[0], said[1]) for said in bench.rejected] == [(LISTENER, "in")]
            await bench.answers("one", 3)
            assert envoy.lives

    run(tmp_path, scenario)


def test_of_several_new_ones_the_bad_one_is_named_and_the_rest_is_applied(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        async with (
            xds_bench.backend("one") as one,
            bench.plane.running() as plane,
            bench.relaying() as relay,
            bench.with_envoy() as envoy,
        ):
            ports = {name: xds_bench.free_port() for name in ("x", "y", "z")}
            bench.serve(one)
            for name, port in ports.items():
                plane.put(
                    xds_bench.eds_cluster(name),
                    xds_bench.endpoints(name, one),
                    xds_bench.route(name, name),
                    xds_bench.http_listener(name, port, name),
                )
            await bench.answers("one")
            for port in ports.values():
                await until(partial(answers, port, "one"), "all of them")
            async with xds_bench.backend("two") as two:
                plane.put(
                    xds_bench.endpoints("x", two),
                    xds_bench.endpoints("y", NO_PORT),
                    xds_bench.endpoints("z", two),
                )
                await until(lambda: answers(ports["x"], "two"), "the first")
                await until(lambda: answers(ports["z"], "two"), "the last")
                await until(lambda: bench.rejected, "the word about the bad one")
                assert [said[:2] for said in bench.rejected] == [(ENDPOINT, "y")]
                assert await answers(ports["y"], "one")
                bench.rejected.clear()
                plane.put(
                    xds_bench.route("x", "y"),
                    xds_bench.route("y", "y", regex="("),
                    xds_bench.route("z", "y"),
                )
                await until(lambda: answers(ports["x"], "one"), "the first route")
                await until(lambda: answers(ports["z"], "one"), "the last route")
                await until(lambda: bench.rejected, "the word about the bad route")
                assert [said[:2] for said in bench.rejected] == [(ROUTE, "y")]
                bench.rejected.clear()
                plane.put(
                    xds_bench.eds_cluster("x", timeout="7s"),
                    xds_bench.eds_cluster("y", timeout="-1s"),
                    xds_bench.eds_cluster("z", timeout="7s"),
                )
                await until(lambda: bench.rejected, "the word about the bad cluster")
                assert [said[:2] for said in bench.rejected] == [(CLUSTER, "y")]
                await asyncio.sleep(0.3)
                dump = await envoy.ask("/config_dump?resource=dynamic_active_clusters")
                assert dump.count('"connect_timeout": "7s"') == 2
                assert relay.envoy_streams == 1

    run(tmp_path, scenario)


async def answers(port: int, body: str) -> bool:
    return await xds_bench.http(f"127.0.0.1:{port}") == body
