"""What a person may order a running agent: status, drain, leave, a hot restart, a renewal."""

import asyncio
from collections.abc import Callable, Mapping

from hostmesh_agent.app.status import Parts, status_of
from hostmesh_agent.edges import control
from hostmesh_agent.edges.control import Progress
from hostmesh_agent.edges.identity_disk import IdentityDisk
from hostmesh_core.errors import Refused
from hostmesh_core.redirect_files import Wanted

RENEW_SECONDS = 10.0
REMOVED_SECONDS = 15.0
POLL_SECONDS = 0.05

Call = Mapping[str, object]


class Orders:
    """The handlers of the control socket."""

    def __init__(
        self, parts: Callable[[], Parts], disk: IdentityDisk, *, on_left: Callable[[], None]
    ) -> None:
        self._ask = parts
        self._disk = disk
        self._on_left = on_left

    @property
    def _parts(self) -> Parts:
        return self._ask()

    def handlers(self) -> dict[str, control.Handler]:
        """Give the handlers by verb."""
        return {
            "status": self._status,
            "drain": self._drain,
            "leave": self._leave,
            "restart-envoy": self._restart_envoy,
            "renew": self._renew,
        }

    async def _status(self, _: Call, __: Progress) -> object:
        return status_of(self._parts)

    async def _restart_envoy(self, _: Call, progress: Progress) -> object:
        envoy = self._parts.envoy
        before = envoy.epoch
        progress("starting a new Envoy beside the one that runs")
        await self._parts.callers.read()  # the new one begins to count at nothing
        await envoy.hot_restart()
        return f"Envoy epoch {envoy.epoch} serves (pid {envoy.pid}), {before} finishes"

    async def _renew(self, _: Call, __: Progress) -> object:
        before = self._serials()
        self._parts.identity.renew_now()
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                while not self._renewed(before):  # noqa: ASYNC110 (nobody tells of all)
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise Refused(
                f"cannot renew now: no answer within {RENEW_SECONDS:.0f} s; look at: "
                "hostmesh-agent status"
            ) from error
        return f"renewed {len(before)} certificate(s)"

    def _renewed(self, before: Mapping[str, str]) -> bool:
        now = self._serials()
        return all(now.get(name) != serial for name, serial in before.items())

    def _serials(self) -> dict[str, str]:
        return {str(one.identity): one.serial for one in self._parts.identity.status()}

    async def _drain(self, call: Call, progress: Progress) -> object:
        complete, released = await self._deregister(progress), True
        if call.get("release") is True:
            progress("giving the ports back")
            self._parts.capture.set_wanted(Wanted.RELEASED)
            released = await self._parts.capture.wait_removed(REMOVED_SECONDS)
        return {"complete": complete, "released": released}

    async def _deregister(self, progress: Progress) -> bool:
        self._parts.registrar.leaving()
        if self._parts.host.connected:
            progress("deregistering")
        else:
            progress("no control plane answers: the lease ends by itself within seconds")
        return await self._parts.host.drain()

    async def _leave(self, _: Call, progress: Progress) -> object:
        """Endpoints first, then inbound rules, Envoy, all that is left, and last the identity."""
        await self._deregister(progress)
        progress("giving the ports back; Envoy finishes its connections")
        capture = self._parts.capture
        capture.set_wanted(Wanted.RELEASED)
        await capture.wait_removed(REMOVED_SECONDS)
        await self._parts.envoy.drain_and_stop()
        progress("removing what is left of rules, routes and names")
        capture.set_names({})
        capture.set_wanted(Wanted.LEFT)
        removed = await capture.wait_removed(REMOVED_SECONDS)
        self._disk.forget()
        self._on_left()
        rest = "" if removed else "; rules are left: hostmesh-agent redirect remove"
        return f"this host has left the mesh{rest}"
