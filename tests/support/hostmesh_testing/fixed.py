"""A clock that only moves when told to, and randomness that counts: for shells under test."""

import asyncio


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
