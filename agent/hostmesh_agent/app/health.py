"""Checks the declared services for ever and tells of each change."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from hostmesh_agent.config import CheckKind, ServiceConfig, ServiceKey
from hostmesh_agent.edges.probes import Check, CheckFailed
from hostmesh_agent.logic import health
from hostmesh_agent.logic.health import AppHealth

log = logging.getLogger("hostmesh.health")


class Clock(Protocol):
    """What this asks of a clock."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the services of this host can be asked."""

    registered: Callable[[ServiceConfig], Sequence[str]]
    """The addresses that peers dial, from the last Verdict."""
    own: Callable[[], Collection[str]]
    """The addresses of this host's interfaces."""


OnHealth = Callable[[ServiceConfig, AppHealth], None]


class HealthService:
    """The checks of one host."""

    def __init__(
        self,
        services: Sequence[ServiceConfig],
        *,
        ask: Callable[[Check], Awaitable[None]],
        addresses: Addresses,
        on_change: OnHealth,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        """Take the services; `ask` raises CheckFailed (`edges.probes.ask`)."""
        self._services = tuple(services)
        self._ask = ask
        self._addresses = addresses
        self._on_change = on_change
        self._clock = clock
        self._jitter = jitter
        self._states: dict[ServiceKey, AppHealth] = {}
        self._changed = asyncio.Event()

    @property
    def states(self) -> Mapping[ServiceKey, AppHealth]:
        """Give what is known of every service."""
        return dict(self._states)

    def seed(self, service: ServiceConfig, failure: str) -> None:
        """Take the proof's result as the first health; empty = the app answered."""
        self._take(service, AppHealth(healthy=not failure, reason=failure))

    def replace(self, services: Sequence[ServiceConfig]) -> None:
        """Check these from now on; what is still among them keeps its state."""
        self._services = tuple(services)
        kept = {service.key for service in services}
        self._states = {key: state for key, state in self._states.items() if key in kept}
        self._changed.set()

    async def run(self) -> NoReturn:
        """Check for ever."""
        while True:
            self._changed.clear()
            async with asyncio.TaskGroup() as tasks:
                checks = [tasks.create_task(self._follow(service)) for service in self._services]
                await self._changed.wait()
                for task in checks:
                    task.cancel()

    async def _follow(self, service: ServiceConfig) -> NoReturn:
        # Spread from the start: all services of a host would be asked in one instant otherwise.
        await self._clock.sleep(service.health.interval_seconds * self._jitter() * 0.5)
        while True:
            state = await self.check(service)
            await self._clock.sleep(health.next_check(state, service.health, self._jitter()))

    async def check(self, service: ServiceConfig) -> AppHealth:
        """Ask once and take the answer in."""
        address, port = health.where(
            service, self._addresses.registered(service), self._addresses.own()
        )
        question = Check(
            address,
            port,
            health.source(address),
            service.health.timeout_seconds,
            service.health.path if service.health.kind is CheckKind.HTTP else "",
            service.name,
        )
        failure = ""
        try:
            await self._ask(question)
        except CheckFailed as error:
            failure = str(error)
        before = self._states.get(service.key, AppHealth())
        after = health.observe(before, failure, service.health)
        self._take(service, after)
        return after

    def _take(self, service: ServiceConfig, state: AppHealth) -> None:
        before = self._states.get(service.key, AppHealth())
        self._states[service.key] = state
        if state.healthy != before.healthy:
            word = "healthy" if state.healthy else "unhealthy"
            log.info("service %s is %s: %s", service.name, word, state.reason or "it answers")
            self._on_change(service, state)
