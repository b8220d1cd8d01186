"""The real gRPC client on loopback against the real server."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from hostmesh_agent.edges import xds_upstream
from hostmesh_agent.edges.xds_upstream import Credentials, UpstreamLost
from hostmesh_core.type_urls import CLUSTER
from hostmesh_testing.certificates import authority
from hostmesh_testing.hosts import until
from hostmesh_testing.tcp_middleman import Middleman
from hostmesh_testing.xds import ask, cluster
from hostmesh_testing.xds_bench import HOST_ID, ControlPlane


def run(scenario: Callable[[ControlPlane], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), ControlPlane().running() as plane:
            plane.world.put(cluster("a"))
            await scenario(plane)

    asyncio.run(main())


def test_requests_go_up_and_responses_come_down() -> None:
    async def scenario(plane: ControlPlane) -> None:
        async with xds_upstream.connect(plane.address, plane.credentials()) as stream:
            (session,) = plane.sessions
            assert stream.stream_id == session.peer.stream_id
            await stream.send(ask(CLUSTER))
            response = await stream.receive()
            assert [item.name for item in response.resources] == ["a"]
        await until(lambda: not session.open)

    run(scenario)


def test_a_dead_proxy_in_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def scenario(plane: ControlPlane) -> None:
        async with xds_upstream.connect(plane.address, plane.credentials()) as stream:
            await stream.send(ask(CLUSTER))
            await stream.receive()

    run(scenario)


def test_the_end_of_the_stream_says_why() -> None:
    async def scenario(plane: ControlPlane) -> None:
        async with xds_upstream.connect(plane.address, plane.credentials()) as stream:
            plane.sessions[0].push.close("cannot go on: revoked")
            with pytest.raises(UpstreamLost, match="unavailable: cannot go on: revoked"):
                await stream.receive()
            with pytest.raises(UpstreamLost, match="revoked"):
                await stream.send(DeltaDiscoveryRequest())

    run(scenario)


def test_a_stranger_is_not_taken_for_a_control_plane() -> None:
    async def scenario(plane: ControlPlane) -> None:
        leaf = plane.root.leaf(uris=(HOST_ID,))
        other_root = authority().root_pem
        for credentials in (
            Credentials(leaf.key_pem, leaf.chain_pem, other_root, "control-plane.mesh.internal"),
            Credentials(leaf.key_pem, leaf.chain_pem, plane.root.root_pem, "web.mesh.internal"),
        ):
            with pytest.raises(UpstreamLost, match=r"^cannot connect to control plane"):
                async with xds_upstream.connect(plane.address, credentials):
                    pass
        assert plane.sessions == []

    run(scenario)


def test_nobody_there_and_nobody_who_answers_are_found_out_in_time() -> None:
    async def scenario(plane: ControlPlane) -> None:
        async with Middleman(plane.port).running() as middleman:
            middleman.freeze()
            for address in ("127.0.0.1:9", f"127.0.0.1:{middleman.port}"):
                began = time.monotonic()
                with pytest.raises(UpstreamLost, match=rf"^cannot connect to .* {address}"):
                    async with xds_upstream.connect(address, plane.credentials()):
                        pass
                assert time.monotonic() - began < xds_upstream.CONNECT_SECONDS + 0.5

    run(scenario)


@pytest.mark.parametrize(
    ("breaks", "seconds"),
    [
        pytest.param(Middleman.reset, 0.5, id="a reset is noticed at once"),
        pytest.param(Middleman.freeze, 3.2, id="silence is noticed by the keepalive"),
    ],
)
def test_a_control_plane_that_is_gone_is_noticed(
    breaks: Callable[[Middleman], None], seconds: float
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        async with Middleman(plane.port).running() as middleman:
            address = f"127.0.0.1:{middleman.port}"
            async with xds_upstream.connect(address, plane.credentials()) as stream:
                await stream.send(ask(CLUSTER))
                await stream.receive()
                began = time.monotonic()
                breaks(middleman)
                with pytest.raises(UpstreamLost):
                    await stream.receive()
                assert time.monotonic() - began < seconds

    run(scenario)


def test_a_quiet_stream_is_not_cut_for_its_pings() -> None:
    async def scenario(plane: ControlPlane) -> None:
        async with xds_upstream.connect(plane.address, plane.credentials()) as stream:
            await asyncio.sleep(9)
            await stream.send(ask(CLUSTER))
            await stream.receive()

    run(scenario)


def test_keys_stay_out_of_texts() -> None:
    credentials = Credentials(b"key", b"chain", b"roots", "name")
    assert "key" not in repr(credentials)
