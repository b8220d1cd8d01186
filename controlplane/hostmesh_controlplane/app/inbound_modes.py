"""The operator's verbs about plaintext: who calls so, strict and back, the report over all."""

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from hostmesh_controlplane.app.mesh import Mesh
from hostmesh_controlplane.app.service_states import Outcome, decided, mark_of
from hostmesh_controlplane.edges.operator_api import Call, Route
from hostmesh_controlplane.logic import strictness
from hostmesh_controlplane.logic.answers import Row, meshed_count
from hostmesh_controlplane.logic.callers import Told
from hostmesh_controlplane.logic.host_record import HostRecord
from hostmesh_controlplane.logic.request_body import RequestBody
from hostmesh_controlplane.logic.service_state import Decision, ServiceRecord
from hostmesh_controlplane.logic.strictness import Account, Count
from hostmesh_core.model import InboundMode, Service

MOST_SHOWN = 1000
"""Callers of a service in one answer, the latest first; `caller_count` has how many there are."""


class Hosts(Protocol):
    """What this asks of the host streams (`app.host_mesh`)."""

    def connected(self, host_id: str) -> str:
        """Give the address a live stream comes from, or an empty text."""

    def callers(self, service: str) -> list[tuple[str, Told]]:
        """Give (host, what it counted) of a service."""

    def own_modes(self, service: str) -> dict[str, set[InboundMode]]:
        """Give what hosts' own files say of a service."""


class Records(Protocol):
    """What this asks of the authority (`app.authority`)."""

    def host(self, host_id: str) -> HostRecord | None:
        """Give the record of a host that joined."""

    def hosts(self) -> Iterable[HostRecord]:
        """Give them all."""


Decide = Callable[[Service, ServiceRecord], Decision]


class InboundModes:
    """What a service's own Envoys accept, and who would notice."""

    def __init__(
        self, mesh: Mesh, hosts: Hosts, records: Records, *, mesh_wide: InboundMode
    ) -> None:
        self._mesh = mesh
        self._hosts = hosts
        self._records = records
        self._mesh_wide = mesh_wide

    def routes(self) -> list[Route]:
        """Give the calls."""
        return [
            Route("POST", "/v1/services/{name}/strict", self._strict),
            Route("POST", "/v1/services/{name}/permissive", self._permissive),
            Route("GET", "/v1/mtls", self._report),
        ]

    def shown(self, service: Service) -> Row:
        """Give what `service show` has of callers and modes, and what to do next."""
        now = time.time()
        known = self._account(service, now)
        return {
            "inbound_in_force": strictness.in_force(
                service, self._own_modes(service), self._mesh_wide
            ),
            **self._callers(known, now),
            "next": strictness.next_step(service, known, self._mesh_wide, now=now),
        }

    async def _strict(self, call: Call) -> object:
        body = RequestBody(call.body, what="make the service strict")
        force = body.flag("force")
        body.done()
        mark, now = mark_of(call.caller, "strict"), time.time()
        known: list[Account] = []

        def decide(service: Service, record: ServiceRecord) -> Decision:
            known.append(self._account(service, now))
            return strictness.strict(service, record, known[0], now=now, force=force, mark=mark)

        def said(service: Service) -> Row:
            warned = strictness.warnings(service, known[0], now=now)
            warned += strictness.strict_modes(self._own_modes(service))
            return {"warnings": warned, **self._callers(known[0], now)}

        return await self._decided(call, decide, said)

    async def _permissive(self, call: Call) -> object:
        RequestBody(call.body, what="make the service permissive").done()
        mark = mark_of(call.caller, "permissive")

        def decide(_: Service, record: ServiceRecord) -> Decision:
            return strictness.permissive(record, mark=mark)

        def said(service: Service) -> Row:
            return {"warnings": strictness.permissive_modes(self._own_modes(service))}

        return await self._decided(call, decide, said)

    async def _decided(self, call: Call, decide: Decide, said: Callable[[Service], Row]) -> object:
        def outcome(service: Service, record: ServiceRecord) -> Outcome:
            decision = decide(service, record)
            before, after = self._mode(record), self._mode(decision.record)
            same = record.inbound is decision.record.inbound
            word = "is already" if same else "is now"
            answer = {
                "done": decision.refused or f"{service.host} {word} {after}: {_MEANING[after]}",
                "host": service.host,
                "change": f"{before} -> {after}",
                "before": before,
                "after": after,
                "refused": decision.refused,
                **said(service),
            }
            return Outcome(decision.record, answer, decision.refused)

        return await decided(self._mesh, call.path["name"], outcome)

    async def _report(self, _: Call) -> object:
        now = time.time()
        services = sorted(self._mesh.state.services.values(), key=lambda service: service.host)
        return [self._row(service, now) for service in services]

    def _row(self, service: Service, now: float) -> Row:
        known = self._account(service, now)
        return {
            "service": service.host,
            "state": service.state.value,
            "meshed": meshed_count(service),
            "endpoints": len(service.endpoints),
            "inbound": strictness.in_force(service, self._own_modes(service), self._mesh_wide),
            "plaintext_callers": len({caller.address for caller in known.callers}),
            "plaintext_requests": sum(caller.requests for caller in known.callers),
            "mutual_tls_requests": known.mutual_tls,
            "counted_since": known.since,
            "counted_for": strictness.ago(now - known.since) if known.since else "",
            "uncounted": len(known.uncounted),
            "next": strictness.next_step(service, known, self._mesh_wide, now=now),
        }

    def _callers(self, known: Account, now: float) -> Row:
        shown = known.callers[:MOST_SHOWN]
        who = self._who({caller.address for caller in shown})
        return {
            "callers": strictness.rows(shown, who, now=now),
            "caller_count": len(known.callers),
            "mutual_tls_requests": known.mutual_tls,
            "counted_since": known.since,
            "counted_for": strictness.ago(now - known.since) if known.since else "",
            "uncounted": list(known.uncounted),
        }

    def _account(self, service: Service, now: float) -> Account:
        told = self._hosts.callers(service.host)
        counts = [Count(host_id, self._name(host_id), one) for host_id, one in told]
        return strictness.account(service, counts, now=now, named=self._where)

    def _own_modes(self, service: Service) -> dict[str, set[InboundMode]]:
        modes = self._hosts.own_modes(service.host)
        return {self._name(host_id): said for host_id, said in modes.items()}

    def _mode(self, record: ServiceRecord) -> str:
        return (record.inbound or self._mesh_wide).value

    def _name(self, host_id: str) -> str:
        record = self._records.host(host_id)
        return record.hostname if record and record.hostname else host_id[:8]

    def _where(self, host_id: str) -> str:
        away = "" if self._hosts.connected(host_id) else " (not connected)"
        return self._name(host_id) + away

    def _who(self, wanted: set[str]) -> Callable[[str], str]:
        """Name the addresses that are an endpoint's or a connected host's."""
        serving: dict[str, set[str]] = {}
        hosts: dict[str, str] = {}
        for service in self._mesh.state.services.values() if wanted else ():
            for endpoint in service.endpoints:
                for key in (endpoint.key, *endpoint.additional):
                    if key.address in wanted:
                        serving.setdefault(key.address, set()).add(service.host)
                        if endpoint.host_id:
                            hosts[key.address] = self._name(endpoint.host_id)
        for record in self._records.hosts() if wanted else ():
            address = self._hosts.connected(record.host_id)
            if address in wanted:
                hosts[address] = self._name(record.host_id)
        return lambda address: strictness.who(serving.get(address, ()), hosts.get(address, ""))


_MEANING = {
    "strict": "its Envoys take mutual TLS alone",
    "permissive": "its Envoys take plaintext too",
    "disable": "its Envoys take plaintext alone",
}
