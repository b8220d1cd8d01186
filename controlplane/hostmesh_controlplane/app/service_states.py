"""The operator's verbs about how far one service is in the mesh.

Each is decided in the mesh's queue, from the service as it is at that turn, and answers with what
it does to the endpoints: what is withheld and why, what is reached in plaintext.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from hostmesh_controlplane.app.mesh import Mesh
from hostmesh_controlplane.edges.operator_api import Call, Caller, Route
from hostmesh_controlplane.logic import merge, service_state, service_view
from hostmesh_controlplane.logic.request_body import RequestBody
from hostmesh_controlplane.logic.service_state import Decision, Mark, ServiceRecord
from hostmesh_core.errors import BadInput, Refused
from hostmesh_core.model import Service


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decision comes to: what is stored, and the answer to whoever asked."""

    record: ServiceRecord
    answer: dict[str, object]
    refused: str = ""


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
        body = RequestBody(call.body, what="require the mesh")
        force, dry_run = body.flag("force"), body.flag("dry_run")
        body.done()
        mark = mark_of(call.caller, "require-mesh")

        def decide(service: Service, record: ServiceRecord) -> Decision:
            decision = service_state.require_mesh(service, record, force=force, mark=mark)
            if not decision.refused:
                return decision
            # What is refused is shown as well: the operator decides by it.
            forced = service_state.require_mesh(service, record, force=True, mark=mark)
            return replace(decision, record=forced.record)

        def said(before: Service, after: Service) -> str:
            withheld = sum(not endpoint.meshed for endpoint in before.endpoints)
            return f"{after.host} is in state mesh; {withheld} endpoint(s) withheld"

        return await self._decided(call, decide, said, dry_run=dry_run)

    async def _allow_unmeshed(self, call: Call) -> object:
        body = RequestBody(call.body, what="allow unmeshed endpoints")
        cidrs, dry_run = body.cidrs("cidr"), body.flag("dry_run")
        body.done()
        mark = mark_of(call.caller, "allow-unmeshed")

        def decide(service: Service, record: ServiceRecord) -> Decision:
            required = self._required(service.host)
            return service_state.allow_unmeshed(
                service, record, cidrs=cidrs, required_by=required, mark=mark
            )

        def said(_: Service, after: Service) -> str:
            admitted = sum(not endpoint.meshed for endpoint in after.reachable)
            return f"{after.host} is in state mixed; {admitted} endpoint(s) reached in plaintext"

        return await self._decided(call, decide, said, dry_run=dry_run)

    async def _release(self, call: Call) -> object:
        """Forget that leases of a service ended: what catalogs still list is reached again."""
        body = RequestBody(call.body, what="release endpoints")
        wanted, dry_run = set(body.texts("keys")), body.flag("dry_run")
        body.done()
        released: list[int] = []

        def decide(service: Service, record: ServiceRecord) -> Decision:
            keys = tuple(key for key in record.ended if str(key) in wanted)
            if wanted and len(keys) != len(wanted):
                known = ", ".join(str(key) for key in record.ended) or "none"
                raise body.refused("keys", f"of {service.host} only these have ended: {known}")
            after = service_state.release(record, keys)
            released.append(len(record.ended) - len(after.ended))
            return Decision(after)

        def said(before: Service, _: Service) -> str:
            return f"{released[0]} ended endpoint(s) of {before.host} released"

        return await self._decided(call, decide, said, dry_run=dry_run)

    async def _decided(
        self,
        call: Call,
        decide: Callable[[Service, ServiceRecord], Decision],
        said: Callable[[Service, Service], str],
        *,
        dry_run: bool,
    ) -> object:
        host = self._mesh.find(call.path["name"]).host

        def outcome(service: Service | None, record: ServiceRecord) -> Outcome:
            if service is None:
                raise BadInput(f"cannot find service {host} any more; look at: hostmesh services")
            decision = decide(service, record)
            after = self._as_it_would_be(service, decision.record)
            nothing = dry_run or bool(decision.refused)
            kept = record if nothing else decision.record
            done = decision.refused or said(service, after)
            answer = {
                "done": f"dry run, nothing changed: {done}" if dry_run else done,
                "host": host,
                "change": f"{_state(record)} -> {_state(kept)}",
                "before": record.state.value,
                "after": kept.state.value,
                "dry_run": dry_run,
                "refused": decision.refused,
                **service_view.effect(service, after, changed=decision.record != record),
            }
            return Outcome(kept, answer, "" if dry_run else decision.refused)

        made = await self._mesh.decide(host, outcome)
        if made.refused:
            raise Refused(made.refused, made.answer)
        return made.answer

    def _as_it_would_be(self, service: Service, record: ServiceRecord) -> Service:
        step = merge.change_record(self._mesh.state, service.host, record)
        return step.state.services.get(service.host, replace(service, endpoints=(), withheld=()))

    def _required(self, host: str) -> str:
        """Give where a static document demands mesh for the service; empty where none does."""
        listings = self._mesh.state.inputs[host].listings
        return next((one.origin for _, one in listings if one.require_mesh), "")


def mark_of(caller: Caller, verb: str) -> Mark:
    """Say when and by whom something is set."""
    return Mark(time.time(), f"{caller.user} (uid {caller.uid}): service {verb}")


def _state(record: ServiceRecord) -> str:
    """Give a record's state for the audit: with the networks that it is narrowed to, and how many
    ended keys it remembers.
    """
    more = [*record.unmeshed_cidrs]
    if record.ended:
        more.append(f"{len(record.ended)} ended")
    narrowed = f" ({', '.join(more)})" if more else ""
    return record.state.value + narrowed
