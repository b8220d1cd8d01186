"""Lets an old key go from the disk once the new certificate is seen in use."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from hostmesh_agent.app.envoy import EnvoyService
from hostmesh_agent.app.host import HostService
from hostmesh_agent.app.identity import IdentityService
from hostmesh_agent.app.relay import RelayService
from hostmesh_core.errors import HostmeshError
from hostmesh_core.ids import Identity

log = logging.getLogger("hostmesh.agent")

CONFIRM_SECONDS = 60.0
"""How long a pushed certificate may take to be seen in Envoy; then the old key stays one more."""


@dataclass(frozen=True, slots=True)
class Confirming:
    """Who has the certificates, and who uses them."""

    identity: IdentityService
    host: HostService
    relay: RelayService
    envoy: EnvoyService

    async def confirm(self, identity: Identity | None, serial: str) -> None:
        """Let the old key go from disk once the new one is in use, in Envoy or on our streams.

        One that is not seen in use in time keeps the old key beside it until the next renewal.
        """
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                while not await self._uses(identity, serial):  # noqa: ASYNC110 (admin is asked)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            log.warning("new certificate not seen in use identity=%s", identity or "host")
            return
        self.identity.in_use(identity, serial)

    async def _uses(self, identity: Identity | None, serial: str) -> bool:
        if identity is None:
            return self.host.connected and self.relay.is_connected
        if not self.envoy.serving:
            return True
        with contextlib.suppress(HostmeshError):
            return serial in str(await self.envoy.admin.certs()).lower()
        return False
