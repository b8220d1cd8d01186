"""One service from all that is known of its host name (DESIGN 5): a function of `Inputs` alone.

Endpoints are united by key; attributes come from the source of the highest precedence; health is
the worst of all; what differs is said in a sentence and never silent. `merge` keeps the inputs.
"""

from collections.abc import Iterable
from dataclasses import replace

from hostmesh_controlplane.logic import catalog_health, identities, service_ports
from hostmesh_controlplane.logic.catalog import CatalogEndpoint
from hostmesh_controlplane.logic.draft import Draft, Groups, Inputs, Listed, Rules, united
from hostmesh_controlplane.logic.registered_endpoints import add_registered, live_instances
from hostmesh_controlplane.logic.service_ports import REGISTERED
from hostmesh_core.ids import EndpointKey, SpiffeId
from hostmesh_core.model import Health, Origin, Service, ServiceState, Withheld

SHOWN_CONFLICTS = 50


def unite(host: str, inputs: Inputs, rules: Rules) -> Service | None:
    """Give the service, or None where nobody lists or registers it."""
    if inputs.empty:
        return None
    draft = _draft(host, inputs, rules)
    groups = _grouped(draft)
    live = live_instances(draft)
    add_registered(draft, live, groups)
    for key in sorted(groups):
        for port, listed in sorted(groups[key].items()):
            _add_unmeshed(draft, key, port, listed)
    _drop_refusing(draft)
    endpoints, said = catalog_health.bounded(
        draft.endpoints, draft.words, mesh=inputs.record.state is ServiceState.MESH
    )
    draft.conflicts += said
    first = inputs.listings[0][1] if inputs.listings else None
    short = identities.short_name(host, draft.namespace, mesh_domain=rules.mesh_domain)
    return Service(
        host=host,
        namespace=draft.namespace,
        ports=draft.ports.ports,
        vip4=inputs.vip.vip4 if inputs.vip else "",
        vip6=inputs.vip.vip6 if inputs.vip else "",
        aliases=_aliases(host, inputs),
        short_name=(first.short_name if first else "") or short,
        state=inputs.record.state,
        inbound=inputs.record.inbound,
        identities=draft.accepted,
        endpoints=tuple(sorted(endpoints, key=lambda e: (e.key, e.service_port))),
        withheld=tuple(sorted(draft.withheld, key=lambda w: (w.key, w.source, w.reason))),
        sources=_sources(rules, [s for s, _ in inputs.listings], registered=bool(live)),
        conflicts=_some(dict.fromkeys([*draft.conflicts, *draft.ports.conflicts])),
    )


def accepted_identities(host: str, inputs: Inputs, rules: Rules) -> tuple[SpiffeId, ...]:
    """Give the ids that clients accept for the service. Only static documents may state one."""
    namespace = _namespace(inputs)
    stated = (
        spiffe_id
        for source, listing in inputs.listings
        if rules.kind(source) == "static"
        for spiffe_id in listing.subject_alt_names
    )
    return identities.accepted(
        identities.short_name(host, namespace, mesh_domain=rules.mesh_domain),
        namespace,
        trust_domain=rules.trust_domain,
        accounts=inputs.accounts,
        stated=stated,
    )


def registered_rank(inputs: Inputs, rules: Rules) -> int:
    """Give where registrations stand among the listings: how many catalogs go before them."""
    own = rules.rank(REGISTERED)
    return sum(1 for source, _ in inputs.listings if rules.rank(source) < own)


def _draft(host: str, inputs: Inputs, rules: Rules) -> Draft:
    ports = service_ports.settle(
        inputs.listings,
        inputs.instances,
        stored=inputs.vip.port if inputs.vip else 0,
        registered_rank=registered_rank(inputs, rules),
    )
    kept = inputs.record.kept
    if not ports.ports and kept:
        ports = replace(ports, ports=kept.ports)
    namespace = _namespace(inputs)
    accepted = accepted_identities(host, inputs, rules)
    draft = Draft(rules, inputs, namespace, ports, accepted, owned=dict(inputs.owned))
    for source, listing in inputs.listings:
        draft.conflicts += [f"{source}: {problem}" for problem in listing.problems]
        if listing.namespace != namespace:
            draft.conflicts.append(
                f"its namespace is {namespace}; {source} says {listing.namespace}"
            )
    draft.conflicts += [f"the name {name} leads to {to}" for name, to in inputs.lost_aliases]
    return draft


def _namespace(inputs: Inputs) -> str:
    if inputs.listings:
        return inputs.listings[0][1].namespace
    if inputs.instances:
        return inputs.instances[0].namespace
    return inputs.record.kept.namespace if inputs.record.kept else ""


def _aliases(host: str, inputs: Inputs) -> tuple[str, ...]:
    found = dict.fromkeys(alias for _, listing in inputs.listings for alias in listing.aliases)
    lost = dict(inputs.lost_aliases)
    return tuple(alias for alias in found if alias != host and alias not in lost)


def _sources(rules: Rules, listed: Iterable[str], *, registered: bool) -> tuple[str, ...]:
    named = {*listed, REGISTERED} if registered else {*listed}
    return tuple(sorted(named, key=rules.rank))


def _grouped(draft: Draft) -> Groups:
    """Unite what catalogs list by key and service port; put aside what cannot be used."""
    groups: Groups = {}
    for source, listing in draft.inputs.listings:
        for endpoint in listing.endpoints:
            port = service_ports.served(endpoint, draft.ports)
            reason = _unusable(endpoint, port=port, owner=draft.owned.get(endpoint.key, ""))
            if reason:
                draft.withheld.append(Withheld(endpoint.key, source, reason, endpoint.origin))
            else:
                of_key = groups.setdefault(endpoint.key, {})
                of_key.setdefault(port, []).append((source, endpoint))
    return groups


def _unusable(endpoint: CatalogEndpoint, *, port: int, owner: str) -> str:
    if owner:
        return f"{endpoint.key} is registered by {owner}: a registered key belongs to its service"
    if not port:
        return (
            f"cannot tell which port of the service {endpoint.key} serves: state service_port in "
            "its catalog"
        )
    return ""


def _add_unmeshed(draft: Draft, key: EndpointKey, port: int, listed: Listed) -> None:
    record = draft.inputs.record
    reason = ""
    if key in draft.unaccepted:
        reason = f"registered, but not accepted: {draft.unaccepted[key]}"
    elif key in record.ended:
        reason = (
            "its host's lease or grant ended, or it has another address: out until a host "
            "registers it again, its catalogs drop it, or `hostmesh service release`"
        )
    elif record.state is ServiceState.MIXED and not record.admits_unmeshed(key.address):
        reason = "not meshed, and outside the networks that allow-unmeshed admits"
    if reason:
        draft.withheld += [Withheld(key, source, reason, e.origin) for source, e in listed]
    else:
        draft.endpoints.append(united(draft, key, port, listed))


def _drop_refusing(draft: Draft) -> None:
    """Withhold held endpoints that refuse connections, while another healthy one is left."""
    refusing = draft.inputs.refusing
    dead = [e for e in draft.endpoints if e.held and e.key in refusing]
    if not dead:
        return
    meshed_only = draft.inputs.record.state is ServiceState.MESH
    others = [
        e
        for e in draft.endpoints
        if e not in dead and e.health is not Health.UNHEALTHY and (e.meshed or not meshed_only)
    ]
    if not others:
        return
    for endpoint in dead:
        draft.endpoints.remove(endpoint)
        reason = "held, and it refuses connections while others answer"
        origins = dict(endpoint.origins)
        draft.withheld += [
            Withheld(endpoint.key, s, reason, origins.get(s, Origin())) for s in endpoint.sources
        ]


def _some(sentences: Iterable[str]) -> tuple[str, ...]:
    """Give the first ones, and how many more there are: a catalog's writer can make thousands."""
    found = tuple(sentences)
    more = len(found) - SHOWN_CONFLICTS
    return (*found[:SHOWN_CONFLICTS], f"and {more} more") if more > 0 else found
