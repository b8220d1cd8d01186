"""The real gRPC server on a unix socket, against a plain gRPC client."""

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_agent.edges import xds_downstream
from hostmesh_agent.edges.xds_downstream import CannotServeEnvoy, Outbox
from hostmesh_core.rpc import DELTA_ADS, SOTW_ADS
from hostmesh_core.type_urls import CLUSTER


class EchoSession:
    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.closings = 0

    def request(self, request: DeltaDiscoveryRequest) -> None:
        self.outbox.send([DeltaDiscoveryResponse(type_url=request.type_url)])

    def closed(self) -> None:
        self.closings += 1


class Bench:
    def __init__(self, path: str) -> None:
        self.path = path
        self.sessions: list[EchoSession] = []

    def accept(self, outbox: Outbox) -> EchoSession:
        self.sessions.append(EchoSession(outbox))
        return self.sessions[-1]

    def dial(self, channel: grpc.aio.Channel, method: str = DELTA_ADS) -> Any:
        return channel.stream_stream(
            method,
            request_serializer=DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=DeltaDiscoveryResponse.FromString,
        )()


def run(path: Path, scenario: Callable[[Bench, grpc.aio.Channel], Awaitable[None]]) -> Bench:
    bench = Bench(str(path / "xds.sock"))

    async def main() -> None:
        async with (
            asyncio.timeout(20),
            xds_downstream.serve(bench.path, bench.accept),
            grpc.aio.insecure_channel(f"unix:{bench.path}") as channel,
        ):
            await scenario(bench, channel)

    asyncio.run(main())
    return bench


def test_requests_reach_the_session_and_responses_keep_their_order(tmp_path: Path) -> None:
    async def scenario(bench: Bench, channel: grpc.aio.Channel) -> None:
        call = bench.dial(channel)
        await call.write(DeltaDiscoveryRequest(type_url=CLUSTER))
        assert (await call.read()).type_url == CLUSTER
        bench.sessions[0].outbox.send(DeltaDiscoveryResponse(nonce=str(n)) for n in range(50))
        assert [(await call.read()).nonce for _ in range(50)] == [str(n) for n in range(50)]
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        assert bench.sessions[0].closings == 1

    run(tmp_path, scenario)


def test_two_envoys_have_a_session_each(tmp_path: Path) -> None:
    async def scenario(bench: Bench, channel: grpc.aio.Channel) -> None:
        calls = []
        for _ in range(2):
            calls.append(bench.dial(channel))
            await calls[-1].write(DeltaDiscoveryRequest(type_url=CLUSTER))
            await calls[-1].read()
        assert len(bench.sessions) == 2
        calls[0].cancel()
        bench.sessions[1].outbox.send([DeltaDiscoveryResponse(nonce="7")])
        assert (await calls[1].read()).nonce == "7"

    bench = run(tmp_path, scenario)
    assert [session.closings for session in bench.sessions] == [1, 1]


def test_other_methods_are_not_there(tmp_path: Path) -> None:
    async def scenario(bench: Bench, channel: grpc.aio.Channel) -> None:
        assert await bench.dial(channel, SOTW_ADS).code() is grpc.StatusCode.UNIMPLEMENTED

    run(tmp_path, scenario)


def test_the_socket_has_its_mode_from_the_start_and_takes_a_stale_ones_place(
    tmp_path: Path,
) -> None:
    path = tmp_path / "xds.sock"
    path.write_text("left behind")
    before = os.umask(0o022)

    async def scenario(bench: Bench, _: grpc.aio.Channel) -> None:
        assert stat.S_IMODE(Path(bench.path).stat().st_mode) == 0o660

    run(tmp_path, scenario)
    assert os.umask(before) == 0o022


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "missing" / "xds.sock")
        with pytest.raises(CannotServeEnvoy, match=f"^cannot make {path} for Envoy"):
            async with xds_downstream.serve(path, EchoSession):
                pass

    asyncio.run(main())
