"""The control plane's clocks: the one place that reads them."""

import asyncio
import time


class SystemClock:
    """This machine's clocks."""

    def wall(self) -> float:
        """Give seconds since the epoch; it may jump, so it is for certificates and tables."""
        return time.time()

    def monotonic(self) -> float:
        """Give seconds that never jump; for leases and waits."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
