"""The operator's verbs about how far one service is in the mesh.

Each is decided in the mesh's queue, from the service as it is at that turn.
"""

from hostmesh_controlplane.app.mesh import Mesh
from hostmesh_controlplane.edges.operator_api import Call, Route
from hostmesh_controlplane.logic import service_state
from hostmesh_controlplane.logic.request_body import RequestBody
from hostmesh_controlplane.logic.service_state import Decision, ServiceRecord
from hostmesh_core.errors import BadInput, Refused
from hostmesh_core.model import Service


class ServiceStates:
    """Reads a call, lets the mesh decide at its turn, says what came of it."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def routes(self) -> list[Route]:
        """Give the calls."""
        return [
            Route("POST", "/v1/services/{name}/require-mesh", self._require_mesh),
            Route("POST", "/v1/services/{name}/allow-unmeshed", self._allow_unmeshed),
            Route("POST", "/v1/services/{name}/release", self._release),
        ]

    async def _require_mesh(self, call: Call) -> object:
        host = self._mesh.find(call.path["name"]).host
        body = RequestBody(call.body, what="require the mesh")
        force = body.flag("force")
        body.done()

        def decide(service: Service | None, record: ServiceRecord) -> Decision:
            return service_state.require_mesh(_there(host, service), record, force=force)

        decision = _accepted(await self._mesh.decide(host, decide))
        withheld = len(decision.withheld)
        return {"done": f"{host} is in state mesh; {withheld} endpoint(s) withheld", "host": host}

    async def _allow_unmeshed(self, call: Call) -> object:
        host = self._mesh.find(call.path["name"]).host
        body = RequestBody(call.body, what="allow unmeshed endpoints")
        cidrs = body.cidrs("cidr")
        body.done()

        def decide(service: Service | None, record: ServiceRecord) -> Decision:
            return service_state.allow_unmeshed(
                _there(host, service), record, cidrs=cidrs, required_by=self._required(host)
            )

        decision = _accepted(await self._mesh.decide(host, decide))
        admitted = len(decision.admitted)
        return {"done": f"{host} is in state mixed; {admitted} endpoint(s) admitted", "host": host}

    async def _release(self, call: Call) -> object:
        """Forget that leases of a service ended: what catalogs still list is reached again."""
        host = self._mesh.find(call.path["name"]).host
        body = RequestBody(call.body, what="release endpoints")
        wanted = set(body.texts("keys"))
        body.done()
        released: list[int] = []

        def decide(_: Service | None, record: ServiceRecord) -> Decision:
            keys = tuple(key for key in record.ended if str(key) in wanted)
            if wanted and len(keys) != len(wanted):
                known = ", ".join(str(key) for key in record.ended) or "none"
                raise body.refused("keys", f"of {host} only these have ended: {known}")
            after = service_state.release(record, keys)
            released.append(len(record.ended) - len(after.ended))
            return Decision(after)

        await self._mesh.decide(host, decide)
        return {"done": f"{released[0]} ended endpoint(s) of {host} released"}

    def _required(self, host: str) -> str:
        """Give where a static document demands mesh for the service; empty where none does."""
        listings = self._mesh.state.inputs[host].listings
        return next((one.origin for _, one in listings if one.require_mesh), "")


def _there(host: str, service: Service | None) -> Service:
    if service is None:
        raise BadInput(f"cannot find service {host} any more; look at: hostmesh services")
    return service


def _accepted(decision: Decision) -> Decision:
    if decision.refused:
        raise Refused(decision.refused)
    return decision
