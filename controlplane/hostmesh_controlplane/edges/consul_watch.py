"""Watches one Consul datacenter: one blocking query per service, in the whole control plane.

One loop, the pulse, decides whether the source is there: it asks for the sentinel, the service
`consul`, which lists the servers to everybody who may read the catalog. Names and services are
watched by blocking queries, which wait for the pulse while the source is away. Nothing is decided
here about what an answer means for the mesh: facts go out as they came.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import TypeVar

from hostmesh_controlplane.edges import consul_index
from hostmesh_controlplane.edges.consul_lanes import Admission, Lane, Lanes
from hostmesh_controlplane.edges.consul_transport import (
    ConsulBusy,
    ConsulClient,
    ConsulError,
    ConsulTooLarge,
)
from hostmesh_controlplane.events.catalogs import (
    CatalogFact,
    ConsulFacts,
    ConsulNames,
    ConsulSentinel,
    ConsulService,
    ConsulUnread,
    SourceAway,
    SourceBack,
    SourceSynced,
)

T = TypeVar("T")
Instances = tuple[tuple[object, ...], ConsulFacts]

SENTINEL = "consul"

AGAIN_SECONDS = 30.0
"""How soon the names are asked for again where some of them are left out."""


@dataclass(frozen=True, slots=True)
class WatchRules:
    """What to watch."""

    source: str
    services: tuple[str, ...] = ("*",)
    wait_seconds: float = 240.0
    settle_seconds: float = 5.0
    """How often at most the names are asked for, and how often the sentinel is."""
    max_services: int = 5_000

    def wants(self, service: str) -> bool:
        """Whether a service is to be watched; Consul's own only where it is named."""
        if service == SENTINEL:
            return SENTINEL in self.services
        return any(fnmatchcase(service, pattern) for pattern in self.services)


@dataclass(slots=True)
class _Watched:
    """One service's watch."""

    lane: Lane
    task: asyncio.Task[None] | None = None
    answered: bool = False
    instances: frozenset[tuple[str, str]] = frozenset()
    """Node and ServiceID of the last answer, and those that went while the sentinel was empty."""


class ConsulWatch:
    """One datacenter. `run` never returns; nothing that Consul does can end it."""

    def __init__(
        self, client: ConsulClient, rules: WatchRules, emit: Callable[[CatalogFact], None]
    ) -> None:
        self._client = client
        self._rules = rules
        self._emit = emit
        self._watched: dict[str, _Watched] = {}
        self._names: frozenset[str] | None = None
        self._there = asyncio.Event()
        self._look_now = asyncio.Event()
        self._servers: int | None = None
        self._synced = False
        self._away_reason = ""
        self._lanes = Lanes()
        self._admission = Admission(rules.max_services)
        self._left_out: tuple[str, ...] = ()

    async def run(self, known: Iterable[str] = ()) -> None:
        """Watch for ever. `known` are services of the stored view: each is asked for too, so that
        one that has gone meanwhile is told as gone.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pulse(tasks))
            for service in known:
                self._watch(tasks, service)
            tasks.create_task(self._watch_names(tasks))

    async def _pulse(self, tasks: asyncio.TaskGroup) -> None:
        """Ask for the sentinel now and again; say when the source goes and comes."""
        failures = 0
        while True:
            self._look_now.clear()
            try:
                servers = await self._sentinel()
            except ConsulError as error:
                failures += 1
                delay = consul_index.retry_delay(failures, jitter=_jitter())
                self._away(error, delay)
            else:
                failures = 0
                delay = self._rules.settle_seconds
                self._back(servers, tasks)
            try:
                async with asyncio.timeout(delay):
                    await self._look_now.wait()
                await asyncio.sleep(min(delay, 0.2))  # many watches fail at once: look once
            except TimeoutError:
                pass

    def _away(self, error: ConsulError, delay: float) -> None:
        self._there.clear()
        reason = f"cannot read Consul at {self._client.agent.address}: {error}"
        if reason != self._away_reason:
            self._away_reason = reason
            self._emit(
                SourceAway(
                    self._rules.source,
                    f"{reason}; its last view stays, next try in {delay:.1f} s",
                )
            )

    def _back(self, servers: int, tasks: asyncio.TaskGroup) -> None:
        regained = self._servers == 0 and servers > 0
        self._saw(servers)
        if self._away_reason:
            self._away_reason = ""
            self._emit(SourceBack(self._rules.source))
        self._there.set()
        if regained:
            # The index did not move while the token could not read: what blocks on it would wait
            # its whole time before it saw the full list again.
            for service, watched in self._watched.items():
                if watched.task is not None:
                    watched.task.cancel()
                    watched.task = tasks.create_task(self._watch_service(service))

    def _saw(self, servers: int) -> None:
        if servers != self._servers:
            self._emit(ConsulSentinel(self._rules.source, servers))
        self._servers = servers

    async def _sentinel(self) -> int:
        servers, _ = await self._client.instances(SENTINEL)
        return len(servers)

    async def _watch_names(self, tasks: asyncio.TaskGroup) -> None:
        index = 0
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time()
            found, facts = await self._asked(self._names_query, index)
            names = frozenset(name for name in found if self._rules.wants(name))
            index = consul_index.next_index(index, facts.index)
            self._names = names
            new, self._left_out = self._admission.admitted(
                names, watched=self._watched, synced=self._synced, now=loop.time()
            )
            taken = tuple(sorted(names.difference(self._left_out)))
            self._emit(ConsulNames(self._rules.source, taken, facts, self._left_out))
            for service in new:
                self._watch(tasks, service)
            self._tell_synced()
            await asyncio.sleep(max(0.0, self._rules.settle_seconds - (loop.time() - asked)))

    async def _names_query(self, index: int) -> tuple[frozenset[str], ConsulFacts]:
        wait = min(self._rules.wait_seconds, AGAIN_SECONDS if self._left_out else 1e9)
        return await self._client.names(index=index, wait_seconds=wait)

    def _watch(self, tasks: asyncio.TaskGroup, service: str) -> None:
        if service not in self._watched:
            watched = self._watched[service] = _Watched(self._lanes.enter(synced=self._synced))
            watched.task = tasks.create_task(self._watch_service(service))

    async def _watch_service(self, service: str) -> None:
        watched = self._watched[service]
        loop = asyncio.get_running_loop()
        bucket = consul_index.TokenBucket()
        index = 0
        # A restored snapshot or a returned agent wakes every watch at once.
        await asyncio.sleep(_jitter() * min(2.0, len(self._watched) / 100))
        while True:
            await asyncio.sleep(bucket.take(loop.time()))
            instances, facts = await self._asked(partial(self._service_query, service), index)
            index = consul_index.next_index(index, facts.index)
            await self._tell(service, watched, instances, facts)
            if self._over(service, watched):
                watched.lane.watches -= 1
                del self._watched[service]
                return

    async def _service_query(self, service: str, index: int) -> Instances:
        watched = self._watched[service]
        async with watched.lane.turn(limited=self._synced):
            wait = watched.lane.wait(self._rules.wait_seconds)
            try:
                return await self._client.instances(service, index=index, wait_seconds=wait)
            except ConsulTooLarge as error:
                # One service that cannot be read must not keep all others from being served.
                watched.answered = True
                reason = (
                    f"cannot read the Consul service {service[:64]!r}: {error}; its last view stays"
                )
                self._emit(ConsulUnread(self._rules.source, service, reason))
                self._tell_synced()
                raise

    async def _asked(self, query: Callable[[int], Awaitable[T]], index: int) -> T:
        """Query until there is an answer. Failures wait for the pulse, and back off themselves."""
        failures = 0
        while True:
            await self._there.wait()
            try:
                return await query(index)
            except ConsulError as error:
                failures += 1
                if not isinstance(error, ConsulBusy):
                    self._look_now.set()
                await asyncio.sleep(consul_index.retry_delay(failures, jitter=_jitter()))

    async def _tell(
        self, service: str, watched: _Watched, instances: tuple[object, ...], facts: ConsulFacts
    ) -> None:
        present = frozenset(_instance_id(one) for one in instances)
        sentinel = None if watched.answered else self._servers
        if watched.instances - present:
            sentinel = await self._sentinel_now()
        watched.answered = True
        # What an unreadable catalog lacks is still missing from its next answer, whose index may
        # have moved: that one asks for the sentinel too.
        watched.instances = present | watched.instances if sentinel == 0 else present
        self._emit(ConsulService(self._rules.source, service, instances, facts, sentinel))
        self._tell_synced()

    async def _sentinel_now(self) -> int | None:
        """Ask for the sentinel after a shrink; no answer counts as a sentinel that is empty."""
        try:
            servers = await self._sentinel()
        except ConsulError:
            self._look_now.set()
            return 0
        if servers == 0:
            self._saw(0)  # the pulse must know of it, to notice when it is over
        return servers

    def _over(self, service: str, watched: _Watched) -> bool:
        """Whether the watch may end: nothing is left, the name is gone, and we can read."""
        gone = self._names is not None and service not in self._names
        return gone and not watched.instances and bool(self._servers)

    def _tell_synced(self) -> None:
        if self._synced or self._names is None:
            return
        if all(watched.answered for watched in self._watched.values()):
            self._synced = True
            self._emit(SourceSynced(self._rules.source))


def _instance_id(instance: object) -> tuple[str, str]:
    """Give what tells instances apart: the id of a service is unique per node only."""
    if not isinstance(instance, dict):
        return "", str(instance)
    node, service = instance.get("Node"), instance.get("Service")
    node_name = node.get("Node") if isinstance(node, dict) else ""
    service_id = service.get("ID") if isinstance(service, dict) else ""
    return str(node_name), str(service_id)


def _jitter() -> float:
    return random.random()  # noqa: S311 (spreads load, protects nothing)
