"""`hostmesh-agent run`: reads what the agent runs with, runs it, says by its exit how it ended."""

import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from hostmesh_agent.app.agent import Agent
from hostmesh_agent.app.configuration import take_up
from hostmesh_agent.edges.identity_disk import IdentityDisk
from hostmesh_core import exit_status
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout


def main(config_path: str, layout: HostLayout, *, log_level: str) -> None:
    """Run the agent until SIGTERM; Envoy and the rules stay.

    Exits with `exit_status.LEFT` when the host has left the mesh: nobody starts it again.
    """
    logging.basicConfig(
        level=log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    running = take_up(layout, str(Path(config_path).absolute()))
    stored = IdentityDisk(Path(layout.identity_dir)).load()
    if stored is None:
        raise BadInput(
            "cannot run: this host has not joined; next: hostmesh-agent join --token-file FILE"
        )
    if asyncio.run(_serve(Agent(running, layout, stored))):
        sys.exit(exit_status.LEFT)


async def _serve(agent: Agent) -> bool:
    """Serve until told to end; True where the host has left the mesh."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await agent.run()
        return True
    return False
