"""What the operator API's calls mean: reads of the running state, and the few writes."""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from hostmesh_controlplane.app import host_grants, inbound_modes
from hostmesh_controlplane.app.authority import Authority
from hostmesh_controlplane.app.host_grants import HostGrants
from hostmesh_controlplane.app.inbound_modes import InboundModes
from hostmesh_controlplane.app.mesh import Mesh
from hostmesh_controlplane.app.proxies import Applied, Proxies, ProxyStream
from hostmesh_controlplane.app.service_states import ServiceStates
from hostmesh_controlplane.edges.operator_api import Call, Route
from hostmesh_controlplane.logic import answers, service_view
from hostmesh_controlplane.logic.catalog import SourceStatus
from hostmesh_controlplane.logic.host_record import HostRecord
from hostmesh_controlplane.logic.request_body import RequestBody
from hostmesh_controlplane.logic.tokens import TokenRecord, TokenRequest, covers
from hostmesh_core import type_urls
from hostmesh_core.model import InboundMode, Service
from hostmesh_core.xds.reports import TypeStatus


class CatalogsView(Protocol):
    """What this asks of the catalogs (`app.catalogs`)."""

    def statuses(self) -> Iterable[SourceStatus]:
        """Give how each source is."""

    def accept(self, source: str) -> int:
        """Release what is held of a source; gives how many endpoints. Raises BadInput."""


class HostsView(inbound_modes.Hosts, host_grants.Hosts, Protocol):
    """What this asks of the host streams (`app.hosts`)."""

    def held(self) -> tuple[str, ...]:
        """Give the hosts whose lease would have ended, but too many at once."""

    def end_held(self) -> tuple[str, ...]:
        """Let those leases end. Raises BadInput where none is held."""


class Operator:
    """The handlers, and the routes that lead to them."""

    def __init__(
        self,
        *,
        mesh: Mesh,
        authority: Authority,
        proxies: Proxies,
        catalogs: CatalogsView,
        hosts: HostsView,
        mesh_wide: InboundMode,
    ) -> None:
        self._mesh = mesh
        self._states = ServiceStates(mesh)
        self._grants = HostGrants(mesh, authority, proxies, hosts)
        self._modes = InboundModes(mesh, hosts, authority, mesh_wide=mesh_wide)
        self._authority = authority
        self._proxies = proxies
        self._catalogs = catalogs
        self._hosts = hosts
        self._mesh_wide = mesh_wide

    def routes(self) -> list[Route]:
        """Give every call of the API."""
        return [
            Route("GET", "/v1/services", self._services),
            Route("GET", "/v1/services/{name}", self._service),
            *self._states.routes(),
            *self._modes.routes(),
            Route("GET", "/v1/endpoints/{name}", self._endpoints),
            Route("GET", "/v1/proxy-status", self._proxy_status),
            Route("GET", "/v1/sources", self._sources),
            Route("POST", "/v1/sources/{name}/accept", self._accept),
            Route("GET", "/v1/hosts", self._list_hosts),
            Route("POST", "/v1/leases/end-held", self._end_held),
            Route("POST", "/v1/hosts/{host}/grant", self._grant),
            Route("POST", "/v1/hosts/{host}/revoke", self._revoke),
            Route("GET", "/v1/tokens", self._tokens),
            Route("POST", "/v1/tokens", self._create_token),
            Route("POST", "/v1/tokens/{id}/revoke", self._revoke_token),
        ]

    # Services

    async def _services(self, _: Call) -> object:
        services = sorted(self._mesh.state.services.values(), key=lambda service: service.host)
        return [self._service_row(service) for service in services]

    def _service_row(self, service: Service) -> answers.Row:
        row = answers.service_row(service, self._mesh_wide)
        more = service_view.notes(self._mesh.state, service)
        return row | {"notes": [*_texts(row["notes"]), *more]}

    async def _service(self, call: Call) -> object:
        service = self._mesh.find(call.path["name"])
        shown = answers.service_detail(service, self._mesh_wide)
        shown |= self._service_row(service) | service_view.detail(self._mesh.state, service)
        return shown | self._modes.shown(service)

    async def _endpoints(self, call: Call) -> object:
        return answers.endpoint_rows(self._mesh.find(call.path["name"]))

    # Sources and proxies

    async def _sources(self, _: Call) -> object:
        counts = answers.source_counts(self._mesh.state.services.values())
        return [_source_row(status, counts) for status in self._catalogs.statuses()]

    async def _accept(self, call: Call) -> object:
        name = call.path["name"]
        RequestBody(call.body, what="accept the source").done()
        released = self._catalogs.accept(name)
        return {"done": f"source {name} is believed again: {released} held endpoint(s) released"}

    async def _proxy_status(self, call: Call) -> object:
        wanted = call.query.get("host")
        chosen = self._find(wanted, only_read=True).host_id if wanted else None
        streams = [s for s in self._proxies.streams() if chosen in (None, s.host_id)]
        return [row for stream in streams for row in self._stream_rows(stream)]

    def _stream_rows(self, stream: ProxyStream) -> list[answers.Row]:
        record = self._authority.host(stream.host_id)
        name = record.hostname if record else ""
        return [
            _proxy_row(stream, name, status)
            for type_url in type_urls.ORDER
            if (status := stream.delta.status().get(type_url)) is not None
        ]

    # Hosts and tokens

    async def _list_hosts(self, _: Call) -> object:
        now = time.time()
        return [self._host_row(record, now) for record in self._authority.hosts()]

    def _host_row(self, record: HostRecord, now: float) -> answers.Row:
        address = self._hosts.connected(record.host_id)
        away = "lease held" if record.host_id in self._hosts.held() else "away"
        state = "revoked" if record.revoked else ("connected" if address else away)
        instances = self._mesh.state.instances.get(record.host_id, ())
        return {
            "id": record.host_id,
            "name": record.hostname,
            "role": record.grant.role.value,
            "kind": record.kind.value,
            "covers": covers(record.grant),
            "address": address,
            "state": state,
            "certificate_hours_left": round(record.hours_left(now), 1),
            "registered": [f"{i.service} {i.keys[0]}" for i in instances],
            "grant": record.grant.to_json(),
        }

    async def _end_held(self, call: Call) -> object:
        RequestBody(call.body, what="end the held leases").done()
        ended = self._hosts.end_held()
        return {"done": f"{len(ended)} held lease(s) end now", "hosts": list(ended)}

    def _find(self, text: str, *, only_read: bool = False) -> HostRecord:
        return self._authority.find_host(
            text, connected=lambda one: bool(self._hosts.connected(one)), only_read=only_read
        )

    async def _grant(self, call: Call) -> object:
        return await self._grants.change(self._find(call.path["host"]), call)

    async def _revoke(self, call: Call) -> object:
        record = self._find(call.path["host"])
        body = RequestBody(call.body, what="revoke the host")
        reason = body.text("reason", "")
        body.done()
        await self._authority.revoke_host(record.host_id, reason)
        return {
            "done": f"host {record.hostname} ({record.host_id}) is revoked",
            "host": record.host_id,
            "change": f"{'revoked' if record.revoked else 'standing'} -> revoked",
        }

    async def _tokens(self, _: Call) -> object:
        now = time.time()
        return [_token_row(record, now) for record in await self._authority.list_tokens()]

    async def _create_token(self, call: Call) -> object:
        domain = self._mesh.state.rules.mesh_domain
        request = TokenRequest.parse(call.body, mesh_domain=domain)
        text, record = await self._authority.create_token(request)
        return {
            "token": text,
            "id": record.id,
            "uses": record.uses,
            "covers": covers(record.grant),
        }

    async def _revoke_token(self, call: Call) -> object:
        RequestBody(call.body, what="revoke the token").done()
        record = await self._authority.revoke_token(call.path["id"])
        return {"done": f"token {record.id} is revoked", "id": record.id}


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _source_row(status: SourceStatus, counts: Mapping[str, tuple[int, int, int]]) -> answers.Row:
    services, endpoints, _ = counts.get(status.source, (0, 0, 0))
    word = "healthy" if status.healthy else "stale"
    return {
        "name": status.source,
        "kind": status.kind,
        "status": f"holding {status.held}" if status.held else word,
        "services": services,
        "endpoints": endpoints,
        "held": status.held,
        "synced": status.synced,
        "detail": status.detail,
    }


def _proxy_row(stream: ProxyStream, name: str, status: TypeStatus) -> answers.Row:
    said = stream.applied.get(status.type_url, Applied())
    sent = int(status.sent or 0)
    rejected = said.rejected or (status.nacked.detail if status.nacked else "")
    applied = "synced" if said.version >= sent else "pending"
    sent_at = stream.sent_at.get(status.type_url)
    return {
        "host": stream.host_id,
        "name": name,
        "stream": stream.stream_id,
        "type": type_urls.SHORT.get(status.type_url, status.type_url),
        "sent": sent,
        "stored": int(status.acked or 0),
        "applied": said.version,
        "rejected": "yes" if rejected else "no",
        "quarantined": list(status.quarantined),
        "age": f"{time.monotonic() - sent_at:.0f}s" if sent_at else "-",
        "state": "rejected" if rejected else applied,
        "detail": rejected,
    }


def _token_row(record: TokenRecord, now: float) -> answers.Row:
    return {
        "id": record.id,
        "covers": covers(record.grant),
        "uses_left": record.uses_left,
        "expires": datetime.fromtimestamp(record.expires_at, UTC).isoformat(timespec="seconds"),
        "state": record.state(now),
    }
