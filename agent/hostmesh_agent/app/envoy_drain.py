"""Lets Envoy finish what it has: readiness off, a graceful drain, then waiting for what is in use.

`logic.drain` decides when nothing is.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from hostmesh_agent.config import AgentConfig
from hostmesh_agent.edges.envoy_admin import EnvoyAdmin
from hostmesh_agent.logic import drain as deciding
from hostmesh_agent.logic.drain import Quiet
from hostmesh_core.errors import HostmeshError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25


async def drain(admin: EnvoyAdmin, config: AgentConfig, *, lives: Callable[[], bool]) -> None:
    """Return when nothing is in use any more, `lives` says no, or `drain_seconds` are over.

    An Envoy whose admin does not answer cannot be drained: that is logged, and it ends without.
    """
    try:
        async with asyncio.timeout(config.envoy.drain_seconds):
            await admin.fail_health_check()
            await admin.drain_listeners()
            await _in_use(admin, config, lives=lives)
    except TimeoutError:
        log.warning("drain over after %g s, connections left", config.envoy.drain_seconds)
    except HostmeshError as error:
        log.warning("cannot drain Envoy, ending it now: %s", error)


async def _in_use(admin: EnvoyAdmin, config: AgentConfig, *, lives: Callable[[], bool]) -> None:
    quiet = Quiet(time.monotonic())
    while lives():
        seen = deciding.traffic(await admin.stats(deciding.PATTERN), config.ports)
        now = time.monotonic()
        quiet = quiet.after(seen, now)
        if quiet.over(seen, now):
            return
        await asyncio.sleep(POLL_SECONDS)
