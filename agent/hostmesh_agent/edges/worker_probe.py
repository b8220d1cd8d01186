"""Asks Envoy's readiness listener: only a worker answers there, so it proves that Envoy serves.

Admin says LIVE from the main thread, which a stuck worker does not disturb. Callers on this host
are told the restart epoch too: beside an old Envoy, only the new one's answer proves the new one.
"""

import asyncio
from dataclasses import dataclass

from hostmesh_agent.edges import http_get
from hostmesh_agent.edges.http_get import Ask
from hostmesh_core import names

TIMEOUT_SECONDS = 1.0
MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Probed:
    """What a worker answered."""

    ready: bool
    epoch: int
    """-1 where it was not told."""


async def probe(port: int, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Probed | None:
    """Ask once over a connection of its own; None = nobody answered in time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                ask = Ask(names.READINESS_PATH)
                answer = await http_get.fetch(reader, writer, ask, max_bytes=MAX_BYTES)
            finally:
                writer.close()
    except (OSError, TimeoutError, http_get.BadAnswer):
        return None
    epoch = answer.headers.get(names.EPOCH_HEADER, "")
    return Probed(answer.status == 200, int(epoch) if epoch.isdecimal() else -1)
