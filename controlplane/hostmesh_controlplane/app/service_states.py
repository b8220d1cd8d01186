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
        take_weights = body.flag("take_weights")
        body.done()
        mark = mark_of(call.caller, "allow-unmeshed")

        def decide(service: Service, record: ServiceRecord) -> Decision:
            required = self._required(service.host)
            return service_state.allow_unmeshed(
                service,
                record,
                cidrs=cidrs,
                take_weights=take_weights,
                required_by=required,
                mark=mark,
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
        def outcome(service: Service, record: ServiceRecord) -> Outcome:
            decision = decide(service, record)
            after, settled = self._as_it_would_be(service, decision.record)
            nothing = dry_run or bool(decision.refused)
            kept = record if nothing else decision.record
            done = decision.refused or said(service, after) + _weights(record, settled)
            answer = {
                "done": f"dry run, nothing changed: {done}" if dry_run else done,
                "host": service.host,
                "change": _change(record, record if nothing else settled),
                "before": record.state.value,
                "after": kept.state.value,
                "dry_run": dry_run,
                "refused": decision.refused,
                **service_view.effect(service, after, changed=decision.record != record),
            }
            return Outcome(kept, answer, "" if dry_run else decision.refused)

        return await decided(self._mesh, call.path["name"], outcome)

    def _as_it_would_be(
        self, service: Service, record: ServiceRecord
    ) -> tuple[Service, ServiceRecord]:
        """Give the service with this record, and the record with its weight limit settled."""
        state = merge.change_record(self._mesh.state, service.host, record).state
        after = state.services.get(service.host)
        if after is None:
            return replace(service, endpoints=(), withheld=()), record
        return after, replace(record, weight_limit=state.record(service.host).weight_limit)

    def _required(self, host: str) -> str:
        """Give where a static document demands mesh for the service; empty where none does."""
        listings = self._mesh.state.inputs[host].listings
        return next((one.origin for _, one in listings if one.require_mesh), "")


async def decided(
    mesh: Mesh, name: str, outcome: Callable[[Service, ServiceRecord], Outcome]
) -> dict[str, object]:
    """Let the mesh decide about a service at its turn; gives the answer.

    Raises Refused with the answer as detail, BadInput where the service is gone by then.
    """
    host = mesh.find(name).host

    def at_its_turn(service: Service | None, record: ServiceRecord) -> Outcome:
        if service is None:
            raise BadInput(f"cannot find service {host} any more; look at: hostmesh services")
        return outcome(service, record)

    made = await mesh.decide(host, at_its_turn)
    if made.refused:
        raise Refused(made.refused, made.answer)
    return made.answer


def mark_of(caller: Caller, verb: str) -> Mark:
    """Say when and by whom something is set."""
    return Mark(time.time(), f"{caller.user} (uid {caller.uid}): service {verb}")


def _change(before: ServiceRecord, after: ServiceRecord) -> str:
    """Give what changes, for the audit."""
    moved = _limit_moves(before, after)
    return " -> ".join(_state(record, weights=moved) for record in (before, after))


def _state(record: ServiceRecord, *, weights: bool) -> str:
    """Give a record's state: with the networks that it is narrowed to, how many ended keys it
    remembers, and what catalogs' weights count up to.
    """
    more = [*record.unmeshed_cidrs]
    if record.ended:
        more.append(f"{len(record.ended)} ended")
    if weights:
        more.append(f"weights to {record.weight_limit or 'any'}")
    narrowed = f" ({', '.join(more)})" if more else ""
    return record.state.value + narrowed


def _weights(before: ServiceRecord, after: ServiceRecord) -> str:
    """Say what catalogs' weights count up to where that moves."""
    if not _limit_moves(before, after):
        return ""
    limit = after.weight_limit
    now = f"up to {limit}" if limit else "as they are until every source has been heard"
    return f"; catalogs' weights now count {now}, before up to {before.weight_limit}"


def _limit_moves(before: ServiceRecord, after: ServiceRecord) -> bool:
    """Whether a command moves the weight limit: the first one is merging's own."""
    return before.weight_limit not in (0, after.weight_limit)
