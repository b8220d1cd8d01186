"""Lets Envoy finish what it has: readiness off, a graceful drain, then waiting for connections."""

import asyncio
import logging
from collections.abc import Callable

from hostmesh_agent.config import AgentConfig
from hostmesh_agent.edges.envoy_admin import EnvoyAdmin
from hostmesh_core.errors import HostmeshError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
_PATTERN = r"^listener\..*downstream_cx_active$"
_NOT_COUNTED = ("listener.admin.", ".worker_")


async def drain(admin: EnvoyAdmin, config: AgentConfig, *, lives: Callable[[], bool]) -> None:
    """Return when no connection is left, `lives` says no, or `drain_seconds` are over.

    An Envoy whose admin does not answer cannot be drained: that is logged, and it ends without.
    """
    try:
        async with asyncio.timeout(config.envoy.drain_seconds):
            await admin.fail_health_check()
            await admin.drain_listeners()
            while lives() and await connections(admin, config):  # noqa: ASYNC110  gauges have no event
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        log.warning("drain over after %g s, connections left", config.envoy.drain_seconds)
    except HostmeshError as error:
        log.warning("cannot drain Envoy, ending it now: %s", error)


async def connections(admin: EnvoyAdmin, config: AgentConfig) -> int:
    """Count the connections of the mesh's listeners: not admin's, readiness' and Prometheus'.

    Zero gauges are asked for too: an absent number is not a zero (host-agent rule 32).
    """
    own = (f"_{config.ports.readiness}.", f"_{config.ports.prometheus}.")
    stats = await admin.stats(_PATTERN)
    return sum(
        value
        for name, value in stats.items()
        if not any(part in name for part in (*_NOT_COUNTED, *own))
    )
