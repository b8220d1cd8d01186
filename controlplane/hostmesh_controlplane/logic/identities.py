"""The SPIFFE ids that clients accept for a service: configuration alone (DESIGN 5).

Never the sum of what endpoints claim, which would bless whoever writes himself into a catalog.
"""

from collections import Counter
from collections.abc import Iterable

from hostmesh_core import names
from hostmesh_core.grant import Grant
from hostmesh_core.ids import Identity, SpiffeId

Accounts = tuple[Identity, ...]
"""Sorted."""


def named_by(grant: Grant, *, mesh_domain: str) -> frozenset[tuple[str, Identity]]:
    """Give (service host, account) of each claim that names account and service exactly.

    A pattern entitles to register and widens nothing.
    """
    return frozenset(
        (
            service_host(claim.service, claim.namespace, mesh_domain=mesh_domain),
            Identity(claim.namespace, claim.service_account),
        )
        for claim in grant.claims
        if claim.service and claim.is_exact and not set(claim.service) & set("*?[")
    )


class AccountBook:
    """The accounts that all grants name, counted: a changed grant costs its own claims."""

    def __init__(self, mesh_domain: str) -> None:
        self._mesh_domain = mesh_domain
        self._counts: dict[str, Counter[Identity]] = {}

    def replace(self, before: Grant, after: Grant) -> dict[str, Accounts]:
        """Take in a changed grant; gives the services whose accounts changed, with all of them."""
        had = named_by(before, mesh_domain=self._mesh_domain)
        has = named_by(after, mesh_domain=self._mesh_domain)
        known = {host: self._accounts(host) for host, _ in had ^ has}
        for host, account in has - had:
            self._counts.setdefault(host, Counter())[account] += 1
        for host, account in had - has:
            self._counts[host][account] -= 1
            if not +self._counts[host]:
                del self._counts[host]
        now = {host: self._accounts(host) for host in known}
        return {host: accounts for host, accounts in now.items() if accounts != known[host]}

    def _accounts(self, host: str) -> Accounts:
        return tuple(sorted(+self._counts.get(host, Counter())))


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
