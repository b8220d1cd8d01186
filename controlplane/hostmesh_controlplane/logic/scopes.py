"""From a host's record to what its streams may see. Nothing here comes from what `node` claims."""

from collections.abc import Iterable

from hostmesh_controlplane.logic.scope import Scope
from hostmesh_core import ports
from hostmesh_core.grant import Grant
from hostmesh_core.ids import Identity

POOL = (ports.OUTBOUND_CAPTURE, *ports.IDENTITY_POOL)
Outbound = tuple[tuple[int, Identity], ...]
"""Outbound capture port -> whose connections arrive there."""


def outbound_of(
    declared: Iterable[tuple[int, Identity]],
    grant: Grant,
    *,
    port: int = ports.OUTBOUND_CAPTURE,
) -> Outbound:
    """Give the identities that may speak for the host: those declared that the grant covers.

    With none declared, the grant's only exact identity speaks for every process; with several in
    the grant none does, and the agent says which setting names one. `port` is where the host's
    instance takes captured connections; only the default instance has the pool beside it.
    """
    usable = POOL if port == ports.OUTBOUND_CAPTURE else (port,)
    allowed = {
        number: identity
        for number, identity in declared
        if number in usable and grant.allows_identity(identity)
    }
    default = grant.default_identity()
    if not allowed and default is not None:
        allowed = {port: default}
    return tuple(sorted(allowed.items()))


def namespace_of(grant: Grant) -> str:
    """Give the namespace that short names resolve in: the grant's only one, else none."""
    namespaces = {claim.namespace for claim in grant.claims}
    only = namespaces.pop() if len(namespaces) == 1 else ""
    return "" if set(only) & set("*?[") else only


def scope_of(
    grant: Grant,
    outbound: Outbound,
    *,
    trust_domain: str,
    port: int = ports.OUTBOUND_CAPTURE,
) -> Scope:
    """Give the scope of a host's streams. `port` is as for `outbound_of`."""
    return Scope(
        trust_domain=trust_domain,
        namespace=namespace_of(grant),
        identities=outbound,
        outbound_port=port,
    )
