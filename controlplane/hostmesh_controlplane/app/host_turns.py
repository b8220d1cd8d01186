"""When a host is looked at because of its own word: at once while it is within its allowance.

Beyond it, what a host says is taken in as it comes and looked at once, when its turn is there: the
latest word wins. So no host takes the event loop from the others, whatever it says and however
often it connects.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from hostmesh_controlplane.app.host_contracts import Clock
from hostmesh_controlplane.app.host_door import alone
from hostmesh_controlplane.app.host_member import Member, Settled
from hostmesh_controlplane.logic.allowance import CHANGE, cost_of_look


class Look(Protocol):
    """Decides one host anew."""

    def __call__(self, member: Member, *, answer: bool) -> Settled:
        """Look; `answer`: a Verdict is due whatever comes of it."""


@dataclass(slots=True)
class Waiting:
    """The look that several words of one host wait for."""

    done: asyncio.Future[object]
    cost: float = 0.0
    answer: bool = False

    def add(self, cost: float, *, answer: bool) -> None:
        """Let one more word wait."""
        self.cost = max(self.cost, cost)
        self.answer |= answer


class Turns:
    """The looks of all hosts that are over their allowance, one each."""

    def __init__(
        self,
        clock: Clock,
        *,
        look: Look,
        spawn: Callable[[Coroutine[object, object, None]], object],
        is_member: Callable[[Member], bool],
    ) -> None:
        self._clock = clock
        self._look = look
        self._spawn = spawn
        self._is_member = is_member
        self._waiting: dict[str, Waiting] = {}

    def take(self, member: Member, *, answer: bool = False, changed: bool = False) -> Settled:
        """Look at a host that has spoken: now, or with all that it says until its turn.

        `changed`: it declares something else than before. Gives what the mesh's answer waits on.
        """
        said = member.registration
        cost = cost_of_look(len(said.declared)) + (CHANGE if changed else 0.0)
        waiting = self._waiting.get(member.host_id)
        if waiting is None and not member.allowance.wait(self._clock.monotonic()):
            return self._now(member, cost, answer=answer)
        if waiting is None:
            done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            waiting = self._waiting[member.host_id] = Waiting(done)
            self._spawn(self._later(member, waiting))
        waiting.add(cost, answer=answer)
        return waiting.done

    def _now(self, member: Member, cost: float, *, answer: bool) -> Settled:
        began = self._clock.monotonic()
        try:
            return self._look(member, answer=answer)
        finally:
            member.allowance.spend(cost, began=began, ended=self._clock.monotonic())

    async def _later(self, member: Member, waiting: Waiting) -> None:
        await self._clock.sleep(member.allowance.wait(self._clock.monotonic()))
        del self._waiting[member.host_id]
        settled: list[Settled] = []
        try:
            if self._is_member(member):
                look = partial(self._now, member, waiting.cost, answer=waiting.answer)
                alone(member, lambda: settled.append(look()))
            for one in settled:
                if one is not None:
                    await asyncio.wait((one,))
        finally:
            if not waiting.done.done():
                waiting.done.set_result(None)
