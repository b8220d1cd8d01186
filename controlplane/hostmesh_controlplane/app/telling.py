"""What the mesh is told of a host's registration, and when: nothing that a restart would forget.

The registry decides and stores; a service and key are told when the store has them. What changes
of them later is told at once.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from hostmesh_controlplane.app.host_contracts import Done, HostMesh
from hostmesh_controlplane.app.host_door import alone
from hostmesh_controlplane.app.host_member import Member, Settled
from hostmesh_controlplane.app.registration_store import RegistrationStore
from hostmesh_controlplane.logic.stored_places import left_places, places, stored_part
from hostmesh_core.errors import HostmeshError
from hostmesh_core.model import RegisteredInstance

log = logging.getLogger(__name__)

SETTLE_SECONDS = 5.0
"""How long a Verdict waits for the store and for the mesh to take a registration in."""


class Telling:
    """Between the registry and the mesh. `answer` sends a host its Verdict anew."""

    def __init__(
        self,
        mesh: HostMesh,
        stored: RegistrationStore,
        *,
        member_of: Callable[[str], Member | None],
        answer: Callable[[Member, Settled], None],
    ) -> None:
        self._mesh = mesh
        self._stored = stored
        self._member_of = member_of
        self._answer = answer
        stored.on_stored = self._on_stored

    def tell(self, member: Member, withdrawn: tuple[RegisteredInstance, ...] = ()) -> Settled:
        """Tell what a host holds, but what the next start would forget."""
        now = stored_part(member.instances, self._stored.places(member.host_id))
        if now == member.told:
            return None
        left = left_places(member.told, now, member.instances)
        member.told = now
        out = tuple(dict.fromkeys((*withdrawn, *left)))
        member.taken_in = _future(self._mesh.on_instances(member.host_id, now, out))
        return member.taken_in

    def tell_restored(self, member: Member) -> None:
        """Tell what the store's own record has come to: by itself it is stored."""
        self._stored.loaded(member.host_id, places(member.instances))
        self.tell(member)

    def tell_ended(self, member: Member) -> Settled:
        """Tell that all that was told of a host is out, whatever catalogs say."""
        gone, member.told = member.told, ()
        return _future(self._mesh.on_lease_ended(member.host_id, gone)) if gone else None

    async def until_told(self, member: Member, settled: Settled) -> None:
        """Wait until a registration is stored and the mesh has it, but not for ever."""
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                if member.untold:
                    await self._stored.written(member.host_id)
                    settled = member.taken_in
                await taken_in(settled)
        except TimeoutError:
            who = "store" if member.untold else "mesh"
            log.warning("%s is slow to take in a registration host=%s", who, member.host_id)

    def why_untold(self) -> str:
        """Say why something that a host holds is not told."""
        why = self._stored.trouble or "the store does not answer"
        return f"not stored yet, so no other host is told of it: {why}; it is tried again by itself"

    def _on_stored(self, host_id: str) -> None:
        member = self._member_of(host_id)
        if member is not None:
            alone(member, partial(self._tell_stored, member))

    def _tell_stored(self, member: Member) -> None:
        before, settled = member.told, self.tell(member)
        if member.waits_for_store and member.told != before:
            self._answer(member, settled)


async def taken_in(settled: Settled) -> None:
    """Wait until the mesh has taken in what it was told, or cannot."""
    if settled is None:
        return
    try:
        await asyncio.shield(settled)  # others wait for it too
    except HostmeshError as error:
        log.warning("mesh cannot take in a registration error=%s", error)


def _future(done: Done) -> Settled:
    return None if done is None else asyncio.ensure_future(done)
