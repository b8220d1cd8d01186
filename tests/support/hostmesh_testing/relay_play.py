"""The relay between a control plane and Envoys, all of them values: no sockets, no clock.

Envoy is played after what was seen of Envoy 1.40: it asks for clusters, for listeners when its
first clusters are warm, for assignments and routes as these refer to them; a new cluster is warming
until its assignment and secret are there; it answers every response.
"""

from dataclasses import dataclass, field

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_agent.logic import relay
from hostmesh_core import names
from hostmesh_core.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from hostmesh_core.xds import references
from hostmesh_core.xds.client import DeltaClient
from hostmesh_core.xds.delta import DeltaStream
from hostmesh_core.xds.resource import Resource
from hostmesh_core.xds.store import Generation
from hostmesh_testing.xds import World


def node(epoch: int) -> Node:
    built = Node(id="host")
    built.metadata.fields[names.EPOCH_METADATA].number_value = epoch
    return built


class PlayedEnvoy:
    """One Envoy. `refuses` are names that it answers with a refusal."""

    def __init__(self, number: int, epoch: int = 0) -> None:
        self.number = number
        self.client = DeltaClient(node(epoch))
        self.client.want(CLUSTER, (), wildcard=True)
        self.inbox: list[DeltaDiscoveryResponse] = []
        self.active: set[str] = set()
        self.refuses: set[str] = set()
        self.words = "bad"
        self.needs_secret: set[str] = set()
        self.listening = False
        self.log: list[str] = []

    def connect(self) -> list[DeltaDiscoveryRequest]:
        self.inbox.clear()
        return self.client.connect()

    def read(self) -> list[DeltaDiscoveryRequest]:
        """Take one response, as far as there is one; give what is said then."""
        if not self.inbox:
            return []
        response = self.inbox.pop(0)
        bad = self.refuses & {item.name for item in response.resources}
        if bad:
            answer = DeltaDiscoveryRequest(
                type_url=response.type_url, response_nonce=response.nonce
            )
            answer.error_detail.message = f"{self.words}: {', '.join(sorted(bad))}"
            return [answer]
        update = self.client.receive(response)
        asks = self._after(response.type_url, update.removed)
        return [*asks, update.ack()]

    def _after(self, type_url: str, removed: tuple[str, ...]) -> list[DeltaDiscoveryRequest]:
        self.active -= set(removed) if type_url == CLUSTER else set()
        asks = []
        found = [references.of(item) for item in self.client.held(CLUSTER).values()]
        asks += self.client.want(ENDPOINT, {name for each in found for name in each.assignments})
        secrets = {"secret"} if self.needs_secret & self.client.held(CLUSTER).keys() else set()
        asks += self.client.want(SECRET, secrets)
        self._warm()
        if not self.listening and self.active >= self.client.held(CLUSTER).keys() and found:
            self.listening = True
            asks += self.client.want(LISTENER, (), wildcard=True)
        found = [references.of(item) for item in self.client.held(LISTENER).values()]
        asks += self.client.want(ROUTE, {name for each in found for name in each.routes})
        return asks

    def _warm(self) -> None:
        absent = {name for type_url, name in self.client.absent() if type_url == ENDPOINT}
        answered = self.client.held(ENDPOINT).keys() | absent
        for name, item in self.client.held(CLUSTER).items():
            ready = references.of(item).assignments <= answered
            if name in self.needs_secret and "secret" not in self.client.held(SECRET):
                ready = False
            if ready:
                self.active.add(name)

    @property
    def warming(self) -> frozenset[str]:
        return frozenset(self.client.held(CLUSTER).keys() - self.active)

    def routed(self) -> set[str]:
        """Name the clusters to which requests may be led right now."""
        listened = [references.of(item) for item in self.client.held(LISTENER).values()]
        names = {name for each in listened for name in each.clusters}
        for item in self.client.held(ROUTE).values():
            names |= references.of(item).clusters
        return names


@dataclass
class Play:
    """All of them together. Nothing moves but by a call."""

    world: World = field(default_factory=World)
    restored: Generation | None = None
    now: float = 0.0
    said: list[relay.Command] = field(default_factory=list)
    to_store: list[Generation] = field(default_factory=list)
    up: list[DeltaDiscoveryRequest] = field(default_factory=list)
    down: list[DeltaDiscoveryResponse] = field(default_factory=list)
    envoys: dict[int, PlayedEnvoy] = field(default_factory=dict)
    connected: bool = False
    streams: int = 0

    def __post_init__(self) -> None:
        self.server = DeltaStream()
        self.relay = relay.Relay(Node(id="host"), self.restored)

    def perform(self, commands: list[relay.Command]) -> list[relay.Command]:
        for command in commands:
            match command:
                case relay.SendUpstream(requests):
                    self.up += requests if self.connected else ()
                case relay.SendEnvoy(stream, responses):
                    self.envoys[stream].inbox += responses
                case relay.Store(generation):
                    self.to_store.append(generation)
                case _:
                    self.said.append(command)
        return commands

    # The control plane

    def connect(self) -> None:
        self.streams += 1
        self.up.clear()
        self.down.clear()
        self.server = DeltaStream()
        self.connected = True
        self.perform(self.relay.connected(f"stream-{self.streams}"))

    def disconnect(self) -> None:
        self.up.clear()
        self.down.clear()
        self.connected = False
        self.perform(self.relay.disconnected())

    def put(self, *items: Resource) -> None:
        changed: dict[str, set[str]] = {}
        for item in items:
            self.world.put(item)
            changed.setdefault(item.type_url, set()).add(item.name)
        if self.connected:
            self.down += self.server.on_change(changed, self.world)

    def drop(self, type_url: str, name: str) -> None:
        changed = self.world.drop(type_url, name)
        if self.connected:
            self.down += self.server.on_change(changed, self.world)

    def server_reads(self) -> None:
        if self.up:
            self.down += self.server.on_request(self.up.pop(0), self.world).responses

    def relay_reads(self) -> None:
        if self.down:
            self.perform(self.relay.received(self.down.pop(0), self.now))

    def disk_writes(self) -> None:
        if self.to_store:
            self.perform(self.relay.stored(self.to_store.pop(0).sequence, self.now))

    # Envoy

    def start_envoy(self, number: int, epoch: int = 0) -> PlayedEnvoy:
        envoy = self.envoys[number] = PlayedEnvoy(number, epoch)
        self.attach(envoy)
        return envoy

    def attach(self, envoy: PlayedEnvoy) -> None:
        self.perform(self.relay.envoy_connected(envoy.number))
        for request in envoy.connect():
            self.perform(self.relay.envoy_asked(envoy.number, request, self.now))

    def stop_envoy(self, number: int) -> None:
        del self.envoys[number]
        self.perform(self.relay.envoy_gone(number))

    def envoy_reads(self, number: int) -> None:
        envoy = self.envoys[number]
        for request in envoy.read():
            self.perform(self.relay.envoy_asked(number, request, self.now))

    def admin_answers(self, number: int) -> None:
        waiting = self.relay.waiting()
        if number in waiting:
            _, asked = waiting[number]
            warming = self.envoys[number].warming
            self.perform(self.relay.warming(number, asked, warming, self.now))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.perform(self.relay.tick(self.now))

    def settle(self) -> None:
        """Let everything that is under way arrive, time standing still."""
        for _ in range(500):
            before = (len(self.said), self.relay.served)
            busy = bool(self.up or self.down or self.to_store)
            self.server_reads()
            self.relay_reads()
            self.disk_writes()
            for number, envoy in list(self.envoys.items()):
                busy = busy or bool(envoy.inbox)
                self.envoy_reads(number)
                self.admin_answers(number)
            if not busy and before == (len(self.said), self.relay.served):
                return
        raise AssertionError("it never comes to rest")

    def restart_relay(self, stored: Generation | None) -> None:
        """Kill the agent; the next one finds what is on the disk, and the Envoys."""
        self.connected = False
        self.up.clear()
        self.down.clear()
        self.to_store.clear()
        self.relay = relay.Relay(Node(id="host"), stored)
        for envoy in self.envoys.values():
            self.attach(envoy)
