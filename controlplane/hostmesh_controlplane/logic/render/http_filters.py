"""The HTTP filters: one fixed ordered list of named slots, so that policy needs no new listener.

What a slot holds by default was tried on Envoy 1.40 (istio-translation.md A.3). A slot that is
disabled costs a request nothing; a route enables it by carrying its configuration.
"""

from functools import cache
from typing import Any

from envoy.config.core.v3 import config_source_pb2
from envoy.config.rbac.v3 import rbac_pb2 as rules_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.grpc_stats.v3 import config_pb2 as grpc_stats_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.filters.http.on_demand.v3 import on_demand_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)

from hostmesh_controlplane.logic.render.encoding import ads, packed, seconds
from hostmesh_core import names, type_urls

INBOUND = "inbound"
OUTBOUND = "outbound"

RBAC_SHADOW = "hostmesh.rbac_shadow"
RBAC = "envoy.filters.http.rbac"
LOCAL_RATELIMIT = "envoy.filters.http.local_ratelimit"
FAULT = "envoy.filters.http.fault"
GRPC_STATS = "envoy.filters.http.grpc_stats"
ON_DEMAND = "envoy.filters.http.on_demand"
ROUTER = "envoy.filters.http.router"

DISCOVERED = {
    "ext_authz": "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    "jwt_authn": "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    "ratelimit": "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
    "wasm": "envoy.extensions.filters.http.wasm.v3.Wasm",
}
"""Slots whose substance cannot come by route, and the type of that substance."""

_FAIL_CLOSED = frozenset({"ext_authz", "jwt_authn"})
_CLUSTER_WAIT_SECONDS = 5.0


@cache
def slots(direction: str) -> tuple[Any, ...]:
    """Give the whole list for `INBOUND` or `OUTBOUND`; what order means is fixed here."""
    return (
        _inline(RBAC_SHADOW, rbac_pb2.RBAC()),
        _discovered(direction, "ext_authz"),
        _discovered(direction, "jwt_authn"),
        _inline(RBAC, rbac_pb2.RBAC()),
        _inline(
            LOCAL_RATELIMIT, local_rate_limit_pb2.LocalRateLimit(stat_prefix="local_ratelimit")
        ),
        _discovered(direction, "ratelimit"),
        _discovered(direction, "wasm"),
        _inline(FAULT, fault_pb2.HTTPFault()),
        _active(GRPC_STATS, grpc_stats_pb2.FilterConfig(emit_filter_state=True)),
        _on_demand(direction),
        _active(ROUTER, router_pb2.Router(suppress_envoy_headers=True)),
    )


def slot_names(direction: str) -> tuple[str, ...]:
    """Give every name that a route may parameterise: Envoy accepts unknown ones in silence."""
    return tuple(slot.name for slot in slots(direction))


def _active(name: str, message: Any) -> Any:
    return hcm_pb2.HttpFilter(name=name, typed_config=packed(message))


def _inline(name: str, message: Any) -> Any:
    return hcm_pb2.HttpFilter(name=name, typed_config=packed(message), disabled=True)


def _on_demand(direction: str) -> Any:
    """Let a request that meets a missing or warming cluster wait for it, on the way out only."""
    if direction == INBOUND:
        return _inline(ON_DEMAND, on_demand_pb2.OnDemand())
    odcds = on_demand_pb2.OnDemandCds(source=ads(), timeout=seconds(_CLUSTER_WAIT_SECONDS))
    return _active(ON_DEMAND, on_demand_pb2.OnDemand(odcds=odcds))


def _discovered(direction: str, slot: str) -> Any:
    """Give a slot whose substance comes by ECDS and that holds no listener up until then.

    A route may enable it before its substance is there: authentication and authorization then
    refuse (an RBAC that allows nobody), the others do nothing.
    """
    refuses = rbac_pb2.RBAC(rules=rules_pb2.RBAC(action=rules_pb2.RBAC.ALLOW))
    default = refuses if slot in _FAIL_CLOSED else header_mutation_pb2.HeaderMutation()
    source = config_source_pb2.ExtensionConfigSource(
        config_source=ads(),
        default_config=packed(default),
        apply_default_config_without_warming=True,
        type_urls=[
            type_urls.PREFIX + DISCOVERED[slot],
            type_urls.PREFIX + default.DESCRIPTOR.full_name,
        ],
    )
    return hcm_pb2.HttpFilter(
        name=names.http_slot(direction, slot), config_discovery=source, disabled=True
    )
