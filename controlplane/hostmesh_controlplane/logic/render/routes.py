"""Outbound RouteConfigurations: one per HTTP port, by Host, inline virtual hosts.

A virtual host is encoded once per view and spliced: a change of one service encodes that one and
copies the bytes of the others.
"""

from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.type.matcher.v3 import filter_state_pb2, regex_pb2, string_pb2

from hostmesh_controlplane.logic.render.encoding import encode, packed, seconds
from hostmesh_controlplane.logic.render.views import VirtualHostFacts, VirtualHostView
from hostmesh_core import names

NO_IDENTITY = (
    "hostmesh: this process has no identity on this host; "
    "set outbound.default_identity or identities[]\n"
)
UNKNOWN_HOST = "hostmesh: no HTTP service of the mesh has this name on port {port}\n"

_RETRY_ON = (
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes,"
    "retriable-headers,reset-before-request"
)
"""Istio's, and two that only say that the app never saw the request."""
HARMLESS_METHODS = "GET|HEAD|OPTIONS"
"""What may be repeated though an app may have seen it."""
_RETRIES = 4


def route_configuration(port: int, virtual_hosts: Iterable[bytes]) -> bytes:
    """Compose the port's routes from virtual hosts as `virtual_host` gives them."""
    shell = route_pb2.RouteConfiguration(
        name=names.outbound_route(port),
        virtual_hosts=[_any_other(port)],
        response_headers_to_remove=[names.UNDELIVERED_HEADER],
        ignore_port_in_host_matching=True,
    )
    shell.validate_clusters.value = False
    return encode(shell) + b"".join(virtual_hosts)


def upstream_configuration(name: str, virtual_host: bytes) -> bytes:
    """Compose the routes of an upstream's listener: one virtual host, for every Host."""
    shell = route_pb2.RouteConfiguration(
        name=name, response_headers_to_remove=[names.UNDELIVERED_HEADER]
    )
    shell.validate_clusters.value = False
    return encode(shell) + virtual_host


def virtual_host(view: VirtualHostView, facts: VirtualHostFacts) -> bytes:
    """Render a service's virtual host, as a field of a RouteConfiguration, ready to be spliced."""
    cluster = names.outbound_cluster(facts.host, facts.port)
    rendered = route_components_pb2.VirtualHost(
        name=names.virtual_host(facts.host, facts.port), domains=view.domains
    )
    if view.anonymous and facts.meshed:
        rendered.routes.append(_refuse_unidentified(view.capture_port))
    rendered.routes.append(_to(cluster, methods=HARMLESS_METHODS))
    rendered.routes.append(_to(cluster))
    return encode(route_pb2.RouteConfiguration(virtual_hosts=[rendered]))


def _to(cluster: str, *, methods: str = "") -> Any:
    """Route to the cluster; with `methods`, those only, and repeated even after a reset."""
    route = route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix="/"))
    if methods:
        matcher = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=methods))
        route.match.headers.append(
            route_components_pb2.HeaderMatcher(name=":method", string_match=matcher)
        )
    route.route.cluster = cluster
    route.route.timeout.SetInParent()  # Envoy's default of 15 s would cut what the app allows
    route.route.retry_policy.CopyFrom(_retries(after_reset=bool(methods)))
    return route


def _retries(*, after_reset: bool) -> Any:
    """Repeat on another instance what the app never saw; after a reset only what is harmless."""
    policy = route_components_pb2.RetryPolicy(
        retry_on=_RETRY_ON + (",reset" if after_reset else ""),
        host_selection_retry_max_attempts=5,
        retry_host_predicate=[
            route_components_pb2.RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
            )
        ],
        retriable_headers=[
            route_components_pb2.HeaderMatcher(name=names.UNDELIVERED_HEADER, present_match=True)
        ],
    )
    policy.num_retries.value = _RETRIES
    policy.retry_back_off.base_interval.CopyFrom(seconds(0.025))
    policy.retry_back_off.max_interval.CopyFrom(seconds(0.1))
    return policy


def _refuse_unidentified(capture_port: int) -> Any:
    """Say why, instead of a TLS alert that nobody understands."""
    route = route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix="/"))
    route.match.filter_state.append(_state_is(names.IDENTITY_FILTER_STATE, str(capture_port)))
    route.direct_response.status = 503
    route.direct_response.body.CopyFrom(base_pb2.DataSource(inline_string=NO_IDENTITY))
    return route


def _any_other(port: int) -> Any:
    """Answer hosts that the mesh does not know: 404 at a virtual address, else pass through."""
    unknown = route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix="/"))
    unknown.match.filter_state.append(
        _state_is(names.DESTINATION_FILTER_STATE, names.VIRTUAL_DESTINATION)
    )
    unknown.direct_response.status = 404
    unknown.direct_response.body.inline_string = UNKNOWN_HOST.format(port=port)
    passing = route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix="/"))
    passing.route.cluster = names.PASSTHROUGH_CLUSTER
    passing.route.timeout.SetInParent()
    return route_components_pb2.VirtualHost(
        name=names.ALLOW_ANY_VIRTUAL_HOST, domains=["*"], routes=[unknown, passing]
    )


def _state_is(key: str, value: str) -> Any:
    return filter_state_pb2.FilterStateMatcher(
        key=key, string_match=string_pb2.StringMatcher(exact=value)
    )
