"""What `hostmesh service show` tells beside the merged service: who set what, whose word counts.

A function of the merge state alone: nothing here decides, it says what was decided and why.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from hostmesh_controlplane.logic import answers, service_ports, sightings
from hostmesh_controlplane.logic.catalog import CatalogService
from hostmesh_controlplane.logic.draft import Inputs
from hostmesh_controlplane.logic.key_index import owner
from hostmesh_controlplane.logic.merge import MergeState
from hostmesh_controlplane.logic.registered_endpoints import instance_keys
from hostmesh_controlplane.logic.service_ports import REGISTERED
from hostmesh_controlplane.logic.service_state import Mark
from hostmesh_controlplane.logic.unite import registered_rank
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Port, Service, ServiceState

Row = dict[str, object]

MOST_NOTES = 5
"""Sentences of one kind in a list of all services; `service show` has them all."""


@dataclass(frozen=True, slots=True, order=True)
class KeyClaim:
    """A key that two services claim: its owner registered it, the other one gets no chain."""

    key: EndpointKey
    owner: str
    claimed_by: str
    sources: tuple[str, ...]
    """Who says so of the other one."""

    @property
    def sentence(self) -> str:
        """Say whose it is."""
        said = "+".join(self.sources)
        return (
            f"{self.key} belongs to {self.owner}, which registered it; {self.claimed_by} claims "
            f"it too ({said}) and gets nothing by it"
        )


def detail(state: MergeState, service: Service) -> Row:
    """Give what stands beside `answers.service_detail`."""
    host = service.host
    record, inputs = state.record(host), state.inputs.get(host, Inputs())
    claims = key_claims(state, host)
    return {
        "state_set": mark_row(record.state_set),
        "inbound_set": mark_row(record.inbound_set),
        "inbound_own": record.inbound is not None,
        "unmeshed_cidrs": list(record.unmeshed_cidrs),
        "ended": [str(key) for key in record.ended],
        "port_rows": [_port_row(port, inputs, state) for port in service.ports],
        "catalogs": _catalogs(state, service, inputs),
        "key_claims": [_claim_row(claim) for claim in claims],
    }


def notes(state: MergeState, service: Service) -> list[str]:
    """Give the sentences of a list of all services that the merged one does not hold itself.

    What another service owns is among the reasons why its own endpoints are withheld.
    """
    claims = key_claims(state, service.host)
    said = [claim.sentence for claim in claims if claim.owner == service.host]
    if len(said) > MOST_NOTES:
        more = len(said) - MOST_NOTES
        said = [*said[:MOST_NOTES], f"{more} more such key(s): hostmesh service show"]
    hidden = sum(not e.meshed for e in service.endpoints)
    if service.state is ServiceState.MESH and hidden:
        said.append(f"{hidden} endpoint(s) not meshed and withheld, because it requires the mesh")
    return said


def key_claims(state: MergeState, host: str) -> tuple[KeyClaim, ...]:
    """Give the keys that a service and another one both claim, whichever of them owns each."""
    inputs = state.inputs.get(host, Inputs())
    found = {
        KeyClaim(key, other, host, _sources_of(state, host, key)) for key, other in inputs.owned
    }
    own = {key for instance in inputs.instances for key in instance_keys(instance)}
    for key in own:
        if owner(state.claims, key) != host:
            continue
        registering = {claim.service for claim in state.claims.get(key, ())}
        for other in {*state.listed.get(key, ()), *registering} - {host}:
            found.add(KeyClaim(key, host, other, _sources_of(state, other, key)))
    return tuple(sorted(found))


def effect(before: Service, after: Service, *, changed: bool) -> Row:
    """Give what a change of a service's record does to its endpoints, as rows.

    `withheld`: what meshed clients do not get after it, and why. `admitted`: what they reach in
    plaintext. `new` marks the rows that are so by this change. Where nothing `changed`, none.
    """
    if not changed:
        return {"withheld": [], "admitted": []}
    was = {_place(row): row["meshed_text"] for row in answers.endpoint_rows(before)}
    rows = [
        row | {"new": was.get(_place(row)) != row["meshed_text"]}
        for row in answers.endpoint_rows(after)
    ]
    return {
        "withheld": [row for row in rows if row["meshed_text"] == "withheld"],
        "admitted": [row for row in rows if row["meshed_text"] == "no"],
    }


def _place(row: Row) -> tuple[object, object]:
    return row["endpoint"], row["source"]


def mark_row(mark: Mark) -> Row:
    """Give when and by whom, for machines; a mark that nobody set is empty."""
    return {"at": sightings.time_text(mark.at), "by": mark.by}


def _sources_of(state: MergeState, host: str, key: EndpointKey) -> tuple[str, ...]:
    inputs = state.inputs.get(host, Inputs())
    catalogs = [s for s, listing in inputs.listings if any(e.key == key for e in listing.endpoints)]
    registered = any(key in instance_keys(instance) for instance in inputs.instances)
    return (*catalogs, REGISTERED) if registered else tuple(catalogs)


def _claim_row(claim: KeyClaim) -> Row:
    return {
        "key": str(claim.key),
        "owner": claim.owner,
        "claimed_by": claim.claimed_by,
        "sources": list(claim.sources),
        "reason": claim.sentence,
    }


def _port_row(port: Port, inputs: Inputs, state: MergeState) -> Row:
    word = _word(port, inputs, state)
    return {
        "port": port.number,
        "protocol": port.protocol.value,
        "name": port.name,
        "word": word,
        "defaulted": port.protocol_defaulted,
        "server_first": port.server_first,
        "note": "taken for tcp by default: nobody states its protocol"
        if port.protocol_defaulted
        else "",
    }


def _word(port: Port, inputs: Inputs, state: MergeState) -> str:
    rank = registered_rank(inputs, state.rules)
    return service_ports.word(port.number, inputs.listings, inputs.instances, registered_rank=rank)


def _catalogs(state: MergeState, service: Service, inputs: Inputs) -> list[Row]:
    """Give a row per source that claims the name, by precedence."""
    words = {port.number: _word(port, inputs, state) for port in service.ports}
    rows = [
        _catalog_row(state, service, listing, words=words, inputs=inputs)
        for listing in inputs.listings
    ]
    if inputs.instances:
        rows.insert(registered_rank(inputs, state.rules), _registered_row(inputs, words))
    return rows


def _catalog_row(
    state: MergeState,
    service: Service,
    listing: tuple[str, CatalogService],
    *,
    words: dict[int, str],
    inputs: Inputs,
) -> Row:
    source, one = listing
    standing = state.standings.get(source)
    said = _said(one.ports) + (
        [f"protocol {one.stated_protocol}"] if one.stated_protocol is not None else []
    )
    return {
        "source": source,
        "kind": state.rules.kind(source),
        "status": "unknown" if standing is None else "healthy" if standing.healthy else "stale",
        "namespace": one.namespace,
        "says": said,
        "endpoints": len(one.endpoints),
        "held": sum(endpoint.held for endpoint in one.endpoints),
        "withheld": sum(withheld.source == source for withheld in service.withheld),
        "require_mesh": one.require_mesh,
        "origin": one.origin,
        "won": _won(source, words, namespace=source == inputs.listings[0][0]),
        "problems": list(one.problems),
    }


def _registered_row(inputs: Inputs, words: dict[int, str]) -> Row:
    return {
        "source": REGISTERED,
        "kind": REGISTERED,
        "status": "live",
        "namespace": inputs.instances[0].namespace,
        "says": _said(dict.fromkeys(instance.port for instance in inputs.instances)),
        "endpoints": len(inputs.instances),
        "held": 0,
        "withheld": 0,
        "require_mesh": any(instance.require_mesh for instance in inputs.instances),
        "origin": f"{len({instance.host_id for instance in inputs.instances})} host(s)",
        "won": _won(REGISTERED, words, namespace=not inputs.listings),
        "problems": [],
    }


def _won(source: str, words: dict[int, str], *, namespace: bool) -> list[str]:
    """Give what the service has from this source and no other."""
    won = [f"protocol of {number}" for number, word in words.items() if word == source]
    return ["namespace", *won] if namespace else won


def _said(ports: Iterable[Port]) -> list[str]:
    return [f"{p.number}/{'-' if p.protocol_defaulted else p.protocol}" for p in ports]
