"""Which generations are on the disk: the stored one, and those that Envoy has proven to live on."""

import asyncio
from collections.abc import Callable
from typing import Literal, NoReturn

from hostmesh_agent.edges.generations import CannotStore, GenerationFolder
from hostmesh_core.xds.store import Generation

GOOD_SECONDS = 10.0
"""How long every Envoy has to live on a generation before a crash loop may lead back to it."""

Kind = Literal["store", "good"]


class GenerationKeeper:
    """Writes one after the other, in a thread, and keeps what is on trial."""

    def __init__(
        self,
        folder: GenerationFolder,
        *,
        on_stored: Callable[[int], None],
        on_problem: Callable[[str], None],
    ) -> None:
        """Take whom to tell: `on_stored` is called for what the disk did not take, too."""
        self._folder = folder
        self._on_stored = on_stored
        self._on_problem = on_problem
        self._work: asyncio.Queue[tuple[Kind, Generation]] = asyncio.Queue()
        self._trial: asyncio.TimerHandle | None = None
        self._runs_on: Generation | None = None

    def store(self, generation: Generation) -> None:
        """Write a generation as the stored one."""
        self._work.put_nowait(("store", generation))

    def mark_good(self, generation: Generation) -> None:
        """Mark as good what is known to be."""
        self._work.put_nowait(("good", generation))

    def runs_on(self, generation: Generation) -> None:
        """Note that every Envoy runs on this; it is good when they have lived on it for a while.

        Where changes come faster than that, it is the first of them that is on trial.
        """
        self._runs_on = generation
        if self._trial is None:
            self._try_out(generation)

    def envoy_gone(self) -> None:
        """Note that an Envoy is gone. It may have crashed: what is on trial has not passed."""
        if self._trial is not None:
            self._trial.cancel()
            self._trial = None

    async def run(self) -> NoReturn:
        """Do the work that comes."""
        while True:
            kind, generation = await self._work.get()
            write = self._folder.save if kind == "store" else self._folder.mark_good
            try:
                await asyncio.to_thread(write, generation)
            except CannotStore as error:
                self._on_problem(str(error))
            if kind == "store":
                self._on_stored(generation.sequence)

    def _try_out(self, generation: Generation) -> None:
        loop = asyncio.get_running_loop()
        self._trial = loop.call_later(GOOD_SECONDS, self._passed, generation)

    def _passed(self, generation: Generation) -> None:
        self._trial = None
        self.mark_good(generation)
        if self._runs_on is not None and self._runs_on is not generation:
            self._try_out(self._runs_on)
