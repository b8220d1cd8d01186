"""`hostmesh host grant`: changes what a host may claim, and says what that did to what it runs."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from hostmesh_controlplane.app.authority import Authority
from hostmesh_controlplane.app.mesh import Mesh
from hostmesh_controlplane.app.proxies import Proxies
from hostmesh_controlplane.edges.operator_api import Call
from hostmesh_controlplane.logic.grants import GrantChange
from hostmesh_controlplane.logic.host_record import HostRecord
from hostmesh_controlplane.logic.tokens import covers
from hostmesh_core import names
from hostmesh_core.errors import Unreachable
from hostmesh_core.model import RegisteredInstance

APPLIED_SECONDS = 5.0
"""How long the answer waits for the peers to apply what went."""


class Hosts(Protocol):
    """What this asks of the host streams (`app.host_mesh`)."""

    def refused(self, host_id: str) -> tuple[str, ...]:
        """Give the sentences of what is refused to a host now."""

    async def stored(self, host_id: str) -> None:
        """Wait until the mesh was told of all that a host holds."""


class HostGrants:
    """One verb: the change is stored and effective before it is answered."""

    def __init__(self, mesh: Mesh, authority: Authority, proxies: Proxies, hosts: Hosts) -> None:
        self._mesh = mesh
        self._authority = authority
        self._proxies = proxies
        self._hosts = hosts

    async def change(self, record: HostRecord, call: Call) -> object:
        """Widen or narrow the grant. Raises BadInput."""
        host_id = record.host_id
        change = GrantChange.parse(call.body)
        running = self._running(host_id)
        after = await self._authority.grant_change(host_id, change)
        changed = f"{covers(record.grant)} -> {covers(after.grant)}"
        try:
            async with asyncio.timeout(APPLIED_SECONDS):
                await self._hosts.stored(host_id)
                await self._mesh.settled()
        except TimeoutError as error:
            raise Unreachable(
                f"cannot say yet what host {host_id} may no more serve: its grant is changed, and "
                "the mesh waits for the store; look at: hostmesh hosts",
                {"host": host_id, "change": changed},
            ) from error
        now = self._running(host_id)
        gone = [one for at, one in running.items() if at not in now]
        back = [one for at, one in now.items() if at not in running]
        taken_out = await self._taken_out(host_id, gone)
        registered = [f"{_named(one)} is registered" for one in back]
        may = f"host {record.hostname} ({host_id}) may claim: {covers(after.grant)}"
        return {
            "done": "\n".join([may, *taken_out, *registered]),
            "host": host_id,
            "grant": after.grant.to_json(),
            "change": changed,
            "taken_out": [_named(one) for one in gone],
            "registered": [_named(one) for one in back],
            "refused": list(self._hosts.refused(host_id)),
        }

    def _running(self, host_id: str) -> dict[tuple[str, int], RegisteredInstance]:
        instances = self._mesh.state.instances.get(host_id, ())
        return {(one.service, one.workload_port): one for one in instances}

    async def _taken_out(self, host_id: str, gone: Iterable[RegisteredInstance]) -> list[str]:
        """Say of each instance that went how many peers it went from."""
        clusters = {one: names.outbound_cluster(one.service, one.port.number) for one in gone}
        if not clusters:
            return []
        every = set(clusters.values())
        applied = await self._proxies.applied_everywhere(every, seconds=APPLIED_SECONDS)
        said = []
        for one, cluster in clusters.items():
            peers = len(self._proxies.followers({cluster}, but=host_id))
            whom = f"{_named(one)} is out of the endpoints of {peers} peer(s)"
            late = "; not all of them have applied it yet: hostmesh proxy-status"
            said.append(whom if applied else whom + late)
        return said


def _named(instance: RegisteredInstance) -> str:
    return f"{instance.service} {instance.keys[0]}"
