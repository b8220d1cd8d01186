"""The agent's clocks: the one place that reads them."""

import asyncio
import time


class SystemClock:
    """This machine's clocks."""

    def wall(self) -> float:
        """Give seconds since the epoch; it may jump, so it is for certificates."""
        return time.time()

    def monotonic(self) -> float:
        """Give seconds that never jump; for waits."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def pause(self, seconds: float) -> None:
        """Wait, where no event loop runs."""
        time.sleep(seconds)
