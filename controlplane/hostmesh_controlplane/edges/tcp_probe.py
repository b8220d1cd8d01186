"""Whether something accepts connections at an address: one TCP handshake, nothing is sent."""

import asyncio
import contextlib


async def accepts(address: str, port: int, *, seconds: float) -> bool:
    """Connect and close at once. False where it is refused, unreachable or silent for so long."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(address, port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
