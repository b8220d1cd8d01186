"""A clock that only moves when told to, and randomness that counts: for shells under test."""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class FixedClock:
    """`sleep` moves the time at once and lets others run."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self.up = 1000.0
        self.slept: list[float] = []

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.up

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.up += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(max(0.0, seconds))
        await asyncio.sleep(0)


class ManualClock:
    """Time stands still until `pass_`; whoever sleeps is woken in the order of the clock."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + max(0.0, seconds), self._count, woken))
        await woken

    async def pass_(self, seconds: float) -> None:
        """Let so many seconds pass, and everybody do what they do meanwhile."""
        end = self.now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, woken = heapq.heappop(self._sleepers)
            self.now = max(self.now, at)
            if not woken.done():
                woken.set_result(None)
            await self.settle()
        self.now = end
        await self.settle()

    async def settle(self) -> None:
        """Let every task run until nothing is left to do but to wait; see `run_inline`."""
        for _ in range(15):
            await asyncio.sleep(0)


class _Inline(ThreadPoolExecutor):
    """What would run in a thread runs at once, so that `settle` knows when it is done."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 (handed to whoever waits for it)
            future.set_exception(error)
        return future


def run_inline(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario whose `asyncio.to_thread` does not leave the thread."""

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(_Inline(1))
        await scenario

    asyncio.run(main())


class CountingEntropy:
    """Every number different, every run the same."""

    def __init__(self) -> None:
        self._count = 0

    def hex(self, bits: int) -> str:
        self._count += 1
        return f"{self._count:0{bits // 4}x}"

    def serial(self) -> int:
        self._count += 1
        return (1 << 100) + self._count

    def jitter(self) -> float:
        return 0.5
