"""Load assignments: the instances of one port of a service, as one kind of client sees them."""

from dataclasses import replace
from itertools import groupby
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from hostmesh_controlplane.logic.render.encoding import address, encode, metadata
from hostmesh_controlplane.logic.render.views import EndpointFacts, EndpointView, LbEndpointFacts
from hostmesh_core import names
from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import Locality

_MESHED = metadata(names.TLS_MODE_METADATA, {names.TLS_MODE_KEY: names.TLS_MODE_MESH})
_PLAIN = metadata(names.TLS_MODE_METADATA, {names.TLS_MODE_KEY: names.TLS_MODE_PLAIN})
_PLAIN_PLACE = "~plaintext"


def load_assignment(view: EndpointView, facts: EndpointFacts) -> bytes:
    """Render the instances: by locality, and those that the client can reach only."""
    rendered = endpoint_pb2.ClusterLoadAssignment(
        cluster_name=names.outbound_cluster(facts.host, facts.port)
    )

    def place(one: LbEndpointFacts) -> Locality:
        return _place(one, mixed=facts.mixed)

    by_place = sorted(facts.endpoints, key=lambda each: (place(each), each.keys))
    for locality, group in groupby(by_place, key=place):
        found = [_endpoint(each, keys) for each in group if (keys := usable(view, each))]
        if not found:
            continue
        rendered.endpoints.append(
            endpoint_components_pb2.LocalityLbEndpoints(
                locality=_locality(locality), lb_endpoints=found
            )
        )
    return encode(rendered)


def usable(view: EndpointView, facts: LbEndpointFacts) -> list[EndpointKey]:
    """Give the keys by which this client reaches the instance, the first one preferred.

    Where either side states no network they count as one, as in Istio.
    """
    return [
        key for key in facts.keys if same_network(view.network, key.network) and _speaks(view, key)
    ]


def same_network(one: str, other: str) -> bool:
    """Tell whether two networks reach each other directly."""
    return one == other or not one or not other


def _speaks(view: EndpointView, key: EndpointKey) -> bool:
    return view.v6 if ":" in key.address else view.v4


def _endpoint(one: LbEndpointFacts, keys: list[EndpointKey]) -> Any:
    first, *others = keys
    endpoint = endpoint_components_pb2.Endpoint(address=address(first.address, first.port))
    endpoint.additional_addresses.extend(
        endpoint_components_pb2.Endpoint.AdditionalAddress(address=address(key.address, key.port))
        for key in others
    )
    rendered = endpoint_components_pb2.LbEndpoint(endpoint=endpoint)
    if one.weight != 1:
        rendered.load_balancing_weight.value = max(one.weight, 1)
    # Also where the cluster alone decides: when a state changes, a new cluster may be served with
    # the endpoints of before for a moment, and what states no mode would get TLS without a
    # certificate there (seen: a POST lost, an instance ejected for five seconds).
    rendered.metadata.CopyFrom(_MESHED if one.meshed else _PLAIN)
    return rendered


def _place(one: LbEndpointFacts, *, mixed: bool) -> Locality:
    """Keep a mixed service's plaintext endpoints in a locality of their own.

    Envoy replaces a host that changes its locality, and with it the connections to it. One that
    only changes its metadata keeps them: requests would go on in plaintext to an instance that has
    just registered, for as long as the pool lives (tried).
    """
    if one.meshed or not mixed:
        return one.locality
    return replace(one.locality, subzone=f"{one.locality.subzone}{_PLAIN_PLACE}")


def _locality(locality: Locality) -> Any:
    if locality == Locality():
        return None
    return base_pb2.Locality(region=locality.region, zone=locality.zone, sub_zone=locality.subzone)
