"""The SPIFFE ids that clients accept for a service: configuration alone (DESIGN 5).

Never the sum of what endpoints claim, which would bless whoever writes himself into a catalog.
"""

from collections.abc import Iterable, Mapping

from hostmesh_core import names
from hostmesh_core.grant import Grant
from hostmesh_core.ids import Identity, SpiffeId

Accounts = tuple[Identity, ...]
"""Sorted."""


def accounts_named(grants: Iterable[Grant], *, mesh_domain: str) -> Mapping[str, Accounts]:
    """Give, per service host, the accounts of grants that name account and service exactly.

    A pattern entitles to register and widens nothing.
    """
    found: dict[str, set[Identity]] = {}
    for grant in grants:
        for claim in grant.claims:
            if not claim.service or not claim.is_exact or set(claim.service) & set("*?["):
                continue
            host = service_host(claim.service, claim.namespace, mesh_domain=mesh_domain)
            found.setdefault(host, set()).add(Identity(claim.namespace, claim.service_account))
    return {host: tuple(sorted(accounts)) for host, accounts in found.items()}


def service_host(service: str, namespace: str, *, mesh_domain: str) -> str:
    """Give the host name that a grant or a registration means: a short name or a full one."""
    if "." in service:
        return service.lower().removesuffix(".")
    return names.mesh_host(service, namespace, mesh_domain)


def short_name(host: str, namespace: str, *, mesh_domain: str) -> str:
    """Give the first label of a mesh name; empty for a host of another domain."""
    suffix = f".{namespace}.{mesh_domain}"
    label = host.removesuffix(suffix)
    return label if label != host and "." not in label else ""


def accepted(
    short: str,
    namespace: str,
    *,
    trust_domain: str,
    accounts: Iterable[Identity] = (),
    stated: Iterable[SpiffeId] = (),
) -> tuple[SpiffeId, ...]:
    """Give all ids that clients accept, sorted: the service's own account, exact grants, stated."""
    own = [Identity(namespace, short)] if short else []
    of_accounts = (SpiffeId.of_workload(trust_domain, a) for a in [*own, *accounts])
    return tuple(sorted({*of_accounts, *stated}))
