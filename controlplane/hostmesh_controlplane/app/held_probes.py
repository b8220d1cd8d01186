"""Tries the endpoints that are held, so that what truly died gets no request (DESIGN 5)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from hostmesh_controlplane.logic import held_votes, merge
from hostmesh_controlplane.logic.held_votes import Vote, Votes
from hostmesh_controlplane.logic.merge import MergeState, Step
from hostmesh_core.ids import EndpointKey

log = logging.getLogger(__name__)

PAUSE_SECONDS = 2.0
CONNECT_SECONDS = 1.5
AT_ONCE = 50


class MeshView(Protocol):
    """What this asks of the mesh (`app.mesh`)."""

    @property
    def state(self) -> MergeState:
        """The merged mesh."""

    def put(self, change: Callable[[MergeState], Step], /) -> None:
        """Queue an input."""


class Accepts(Protocol):
    """What this asks of the prober (`edges.tcp_probe`)."""

    def __call__(self, address: str, port: int, *, seconds: float) -> Awaitable[bool]:
        """Tell whether a connection is accepted."""


class HeldProbes:
    """Runs for ever, and does nothing at all while no source holds anything."""

    def __init__(self, mesh: MeshView, *, accepts: Accepts, holding: Callable[[], bool]) -> None:
        self._mesh = mesh
        self._accepts = accepts
        self._holding = holding
        self._votes = Votes()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Try what is held, again and again."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            if self._holding():
                await self.step()

    async def step(self) -> None:
        """Try every held endpoint once, each beside some that are listed."""
        state = self._mesh.state
        held = {host: held_votes.held_keys(inputs) for host, inputs in state.inputs.items()}
        held = {host: keys for host, keys in held.items() if keys}
        self._votes = held_votes.forget(self._votes, held)
        for host, keys in held.items():
            service = state.services.get(host)
            if service is not None:
                accepted = await self._tried({*keys, *held_votes.controls(service)})
                self._votes, told = held_votes.judged(
                    self._votes, host, held=keys, accepted=accepted
                )
                self._tell(told)

    async def _tried(self, keys: Iterable[EndpointKey]) -> dict[EndpointKey, bool]:
        """Connect to endpoints of the own network: another one's addresses mean nothing here."""
        found: dict[EndpointKey, bool] = {}

        async def one(key: EndpointKey) -> None:
            async with self._slots:
                found[key] = await self._accepts(key.address, key.port, seconds=CONNECT_SECONDS)

        async with asyncio.TaskGroup() as tasks:
            for key in sorted(keys):
                if not key.network:
                    tasks.create_task(one(key))
        return found

    def _tell(self, votes: Iterable[Vote]) -> None:
        for vote in votes:
            said = "refuses" if vote.refuses else "accepts again"
            log.warning("held endpoint %s service=%s endpoint=%s", said, vote.host, vote.key)
            self._mesh.put(_as_input(vote))


def _as_input(vote: Vote) -> Callable[[MergeState], Step]:
    return lambda state: merge.set_refusing(state, vote.host, vote.key, refuses=vote.refuses)
