"""Proxy streams without a network: what each was pushed, and a world of resources to see."""

import asyncio
from collections.abc import Sequence

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from hostmesh_controlplane.app.proxies import Proxies, ProxyStream
from hostmesh_controlplane.logic.scope import Scope
from hostmesh_core import type_urls
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.xds.resource import Resources
from hostmesh_testing.xds import World, ask, told


class FakePush:
    """Remembers what was pushed, in short."""

    def __init__(self) -> None:
        self.sent: list[DeltaDiscoveryResponse] = []
        self.ended = ""

    def send(self, responses: Sequence[DeltaDiscoveryResponse]) -> None:
        self.sent.extend(responses)

    def close(self, reason: str) -> None:
        self.ended = reason

    @property
    def told(self) -> list[str]:
        return told(self.sent)


class Viewed:
    """What `resources_of` gives: one world for everybody, or one of a host's own."""

    def __init__(self, everybody: World, **own: World) -> None:
        self.everybody = everybody
        self.own = own
        self.asked: list[tuple[Scope, str]] = []

    def __call__(self, scope: Scope, host_id: str) -> Resources:
        self.asked.append((scope, host_id))
        return self.own.get(f"{host_id}_{scope.namespace}", self.everybody)


async def quiet() -> None:
    """Let the pause after a push pass, so that the next one goes at once."""
    await asyncio.sleep(0.05)


def subscribe(stream: ProxyStream, type_url: str, *names: str) -> list[str]:
    """Ask on a stream; give in short what was answered at once."""
    return told(stream.request(ask(type_url, *names)))


def apply(proxies: Proxies, stream: ProxyStream, version: int) -> None:
    """Say as the stream's own host that its Envoy applied load assignments."""
    report = pb.Applied(
        type_url=type_urls.ENDPOINT, version=str(version), stream_id=stream.stream_id
    )
    proxies.applied(stream.host_id, report)
