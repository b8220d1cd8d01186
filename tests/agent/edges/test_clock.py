"""The agent's clocks go on."""

import asyncio

from hostmesh_agent.edges.clock import SystemClock


def test_time_passes_while_it_waits() -> None:
    clock = SystemClock()
    wall, monotonic = clock.wall(), clock.monotonic()
    asyncio.run(clock.sleep(0.01))
    clock.pause(0.01)
    assert clock.monotonic() >= monotonic + 0.02
    assert clock.wall() > wall > 1_700_000_000
