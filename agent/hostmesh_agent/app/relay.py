"""The relay at work: connections, disk and timers around `logic.relay`.

Runs from the agent's start to its end. Until there is a generation, stored or received, Envoy's
streams are held open unanswered; from then on they are always served, control plane or not.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
)

from hostmesh_agent.app.relay_disk import GenerationKeeper
from hostmesh_agent.app.relay_upstream import Follower
from hostmesh_agent.edges import xds_downstream
from hostmesh_agent.edges.clock import SystemClock
from hostmesh_agent.edges.generations import CannotStore, GenerationFolder
from hostmesh_agent.edges.xds_downstream import Outbox
from hostmesh_agent.edges.xds_upstream import Credentials
from hostmesh_agent.logic import relay, relay_facts
from hostmesh_agent.logic.relay_facts import MeshFacts
from hostmesh_core import type_urls
from hostmesh_core.errors import HostmeshError
from hostmesh_core.xds.references import Unreadable
from hostmesh_core.xds.resource import Resource
from hostmesh_core.xds.store import Generation

POLL_SECONDS = 0.03
"""How often Envoy's admin is asked while a route waits for its clusters."""
RETRY_SECONDS = 5.0
"""How often a listener is tried again whose address something else on this host has."""
CONFIRM_SECONDS = 60.0
"""How often the stored generation is marked as confirmed while a control plane is connected."""

Warming = Callable[[int | None], Awaitable[frozenset[str] | None]]
"""Gives the clusters that are warming in the Envoy of an epoch; None = its admin did not answer."""


async def _no_admin(_epoch: int | None) -> frozenset[str] | None:
    return None


def _ignore(*_: object) -> None:
    """Do nothing: the default of every callback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayCallbacks:
    """What the rest of the agent wants to hear. Called on the event loop; must not block."""

    on_applied: Callable[[str, str, str], None] = _ignore
    """Type URL, version, ADS stream id: every Envoy has taken it."""
    on_rejected: Callable[[str, str, str, str, str], None] = _ignore
    """Type URL, resource name, version, Envoy's words, ADS stream id."""
    on_generation: Callable[[MeshFacts], None] = _ignore
    """Another generation is served from now on; for the stored one, as soon as `run` runs."""
    on_problem: Callable[[str], None] = _ignore
    """A sentence for the log and for `status`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayPaths:
    """Where the relay lives on this host."""

    xds_dir: str
    xds_socket: str


class RelayService:
    """The relay of one agent instance. All methods from the event loop."""

    def __init__(
        self,
        paths: RelayPaths,
        *,
        control_planes: Sequence[str],
        node: Node | None = None,
        callbacks: RelayCallbacks | None = None,
        warming: Warming = _no_admin,
    ) -> None:
        """Load what is stored; it is served as soon as `run` runs.

        `control_planes` are `host:port`. `node` is what upstream is told of Envoy: version,
        features, address families.
        """
        self._paths = paths
        self._control_planes = tuple(control_planes)
        self._callbacks = callbacks or RelayCallbacks()
        self._warming = warming
        self._clock = SystemClock()
        self._folder = GenerationFolder(paths.xds_dir)
        self._facts = MeshFacts()
        self._read: tuple[object, ...] = (object(),) * len(relay_facts.READ)
        self._there = asyncio.Event()
        self._waits = asyncio.Event()
        self._keeper = GenerationKeeper(
            self._folder, on_stored=self._stored, on_problem=self._callbacks.on_problem
        )
        self._outboxes: dict[int, Outbox] = {}
        self._streams = 0
        self._credentials: Credentials | None = None
        self._renewed = asyncio.Event()
        self._followers: dict[Follower, asyncio.Task[NoReturn]] = {}
        self._current: Follower | None = None
        self._problems: list[str] = []
        self._state = self._restore(node or Node())
        if (stored := self._state.served) is not None:
            self._facts = relay_facts.read(stored)
            self._there.set()

    # What the rest of the agent asks and says

    @property
    def has_generation(self) -> bool:
        """Whether there is anything to start an Envoy with."""
        return self._state.served is not None

    async def wait_generation(self) -> None:
        """Wait until there is."""
        await self._there.wait()

    @property
    def generation_age(self) -> float | None:
        """Seconds since a control plane last confirmed what is served: 0 while one is connected.

        None while there is nothing.
        """
        if not self.has_generation:
            return None
        if self.is_connected:
            return 0.0
        confirmed = self._folder.confirmed_at()
        return None if confirmed is None else max(0.0, self._clock.wall() - confirmed)

    @property
    def is_connected(self) -> bool:
        """Whether a control plane has the stream."""
        return self._current is not None and self._current.stream is not None

    @property
    def control_plane(self) -> str:
        """Address of the control plane that has the stream; empty = none."""
        stream = self._current.stream if self._current else None
        return stream.address if stream else ""

    @property
    def stream_id(self) -> str:
        """What that control plane calls the stream; empty = none."""
        stream = self._current.stream if self._current else None
        return stream.stream_id if stream else ""

    @property
    def credentials_in_use(self) -> Credentials | None:
        """What the open stream was opened with; None = there is no stream."""
        return self._current.credentials if self._current and self._current.stream else None

    @property
    def envoy_streams(self) -> int:
        """How many Envoys are connected: two during a hot restart."""
        return len(self._outboxes)

    @property
    def waits_for(self) -> tuple[str, ...]:
        """What the next generation lacks, as `EDS outbound|80||web.…`."""
        return tuple(
            f"{type_urls.SHORT.get(type_url, type_url)} {name}"
            for type_url, name in sorted(self._state.waits_for)
        )

    def facts(self) -> MeshFacts:
        """Give what the served generation says of names and endpoints."""
        return self._facts

    def set_credentials(self, credentials: Credentials) -> None:
        """Connect with these. The stream of the ones before ends when the new one stands."""
        self._credentials = credentials
        self._renewed.set()

    def set_control_planes(self, control_planes: Sequence[str]) -> None:
        """Go to these from now on. The stream that is up ends when one of them has taken ours."""
        self._control_planes = tuple(control_planes)
        self._renewed.set()

    def set_secrets(self, secrets: Sequence[Resource]) -> None:
        """Replace the host's secrets; what changed is in Envoy within milliseconds."""
        self._perform(self._state.set_secrets(secrets))

    def mark_good(self) -> None:
        """Note that Envoy does well with what it is served; falling back will lead here."""
        if (served := self._state.served) is not None:
            self._keeper.mark_good(served)

    def fall_back(self) -> bool:
        """Serve the last good generation instead: Envoy crashes with this one.

        False where there is no other; then nothing changes.
        """
        served = self._state.served
        try:
            good = self._folder.fall_back(served.sequence) if served is not None else None
        except CannotStore as error:
            self._callbacks.on_problem(str(error))
            return False
        if good is None:
            return False
        self._perform(self._state.fall_back(good, self._clock.monotonic()))
        return True

    async def run(self) -> None:
        """Serve until cancelled. Raises CannotServeEnvoy where the socket cannot be made."""
        for problem in self._problems:
            self._callbacks.on_problem(problem)
        if self._state.served is not None:
            self._serve(self._state.served)
        async with (
            xds_downstream.serve(self._paths.xds_socket, self._accept),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._follow_control_planes(tasks))
            tasks.create_task(self._keeper.run())
            tasks.create_task(self._watch_warming())
            tasks.create_task(self._confirm())
            tasks.create_task(self._retry())

    # The control plane's side

    async def _follow_control_planes(self, tasks: asyncio.TaskGroup) -> NoReturn:
        """Run one follower per set of credentials; the newest ends the others when it stands."""
        while True:
            await self._renewed.wait()
            self._renewed.clear()
            if self._credentials is None:
                continue
            follower = Follower(
                self._control_planes,
                self._credentials,
                clock=self._clock,
                jitter=random.random,
                listener=self,
            )
            self._followers[follower] = tasks.create_task(follower.run())

    def opened(self, follower: Follower) -> None:
        """Take over to a new stream; the followers with older credentials end with this."""
        for other in list(self._followers):
            if other is follower:
                break
            self._followers.pop(other).cancel()
        self._current = follower
        self._perform(self._state.connected(self.stream_id))

    def received(self, follower: Follower, response: DeltaDiscoveryResponse) -> None:
        """Take a response, unless its stream has been replaced."""
        if follower is self._current:
            self._perform(self._state.received(response, self._clock.monotonic()))

    def lost(self, follower: Follower, reason: str) -> None:
        """Note that a follower has no stream."""
        self._callbacks.on_problem(reason)
        if follower is self._current:
            self._current = None
            self._folder.confirm()
            self._perform(self._state.disconnected())

    async def _confirm(self) -> NoReturn:
        while True:
            await self._clock.sleep(CONFIRM_SECONDS)
            if self.is_connected:
                self._folder.confirm()

    async def _retry(self) -> NoReturn:
        while True:
            await self._clock.sleep(RETRY_SECONDS)
            self._perform(self._state.retry_unbound())

    # The disk

    def _restore(self, node: Node) -> relay.Relay:
        generation, self._problems = self._folder.load()
        try:
            return relay.Relay(node, generation)
        except Unreadable as error:
            self._problems.append(f"{error}; waiting for the control plane instead")
            return relay.Relay(node)

    def _stored(self, sequence: int) -> None:
        self._perform(self._state.stored(sequence, self._clock.monotonic()))

    # Envoy's side

    def _accept(self, outbox: Outbox) -> "_EnvoySession":
        self._streams += 1
        number = self._streams
        self._outboxes[number] = outbox
        self._perform(self._state.envoy_connected(number))
        return _EnvoySession(self, number)

    def envoy_asked(self, stream: int, request: DeltaDiscoveryRequest) -> None:
        """Take a request of an Envoy."""
        self._perform(self._state.envoy_asked(stream, request, self._clock.monotonic()))

    def envoy_gone(self, stream: int) -> None:
        """Forget an Envoy's stream."""
        self._keeper.envoy_gone()
        self._outboxes.pop(stream, None)
        self._perform(self._state.envoy_gone(stream))

    async def _watch_warming(self) -> NoReturn:
        """While something waits for clusters, ask Envoy which of them are warming."""
        while True:
            await self._waits.wait()
            while waiting := self._state.waiting():
                for stream, (epoch, asked) in waiting.items():
                    if not asked:
                        continue
                    warming = await self._warming(epoch)
                    if warming is not None:
                        now = self._clock.monotonic()
                        self._perform(self._state.warming(stream, asked, warming, now))
                self._perform(self._state.tick(self._clock.monotonic()))
                await self._clock.sleep(POLL_SECONDS)
            self._waits.clear()

    # Commands

    def _perform(self, commands: Sequence[relay.Command]) -> None:
        for command in commands:
            self._perform_one(command)
        if self._state.waiting():
            self._waits.set()

    def _perform_one(self, command: relay.Command) -> None:
        match command:
            case relay.SendUpstream(requests):
                if self._current is not None:
                    self._current.send(requests)
            case relay.SendEnvoy(stream, responses):
                if (outbox := self._outboxes.get(stream)) is not None:
                    outbox.send(responses)
            case relay.Store(generation):
                self._keeper.store(generation)
            case relay.Served(generation):
                self._serve(generation)
            case relay.Good() | relay.Applied() | relay.Rejected() | relay.GaveUp():
                self._tell(command)

    def _tell(self, command: relay.Good | relay.Applied | relay.Rejected | relay.GaveUp) -> None:
        tell = self._callbacks
        match command:
            case relay.Good(generation):
                self._keeper.runs_on(generation)
            case relay.Applied(type_url, version, stream_id):
                tell.on_applied(type_url, version, stream_id)
            case relay.Rejected(type_url, name, version, detail, stream_id):
                tell.on_rejected(type_url, name, version, detail, stream_id)
            case relay.GaveUp(epoch, clusters):
                tell.on_problem(
                    f"cannot wait longer for clusters of Envoy {epoch} to become active: "
                    f"{', '.join(clusters)}; what refers to them is served all the same"
                )

    def _serve(self, generation: Generation) -> None:
        self._there.set()
        read = tuple(generation.by_type.get(each) for each in relay_facts.READ)
        if all(new is old for new, old in zip(read, self._read, strict=True)):
            return  # most changes are of endpoints, and those cost no decoding here
        self._read = read
        self._facts = relay_facts.read(generation)
        try:
            self._callbacks.on_generation(self._facts)
        except HostmeshError as error:
            # What others make of it must not stop Envoy from being served.
            self._callbacks.on_problem(str(error))


@dataclass(frozen=True, slots=True)
class _EnvoySession:
    """The edge's view of one Envoy's stream."""

    service: RelayService
    stream: int

    def request(self, request: DeltaDiscoveryRequest) -> None:
        """Take a request."""
        self.service.envoy_asked(self.stream, request)

    def closed(self) -> None:
        """Forget the stream."""
        self.service.envoy_gone(self.stream)
