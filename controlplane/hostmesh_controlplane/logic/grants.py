"""`hostmesh host grant`: how what one host may claim is widened and narrowed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from hostmesh_controlplane.logic.request_body import RequestBody
from hostmesh_controlplane.logic.tokens import DEFAULT_NAMESPACE, account_of, covers
from hostmesh_core.errors import BadInput
from hostmesh_core.grant import Claim, Grant


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """`[NAMESPACE/]NAME` as an operator writes it; empty namespace = the grant's only one."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """`[NAMESPACE/]SERVICE as ACCOUNT`: one service under one account, and nothing beside it."""

    service: Name
    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantChange:
    """What is added and removed, in the operator's words."""

    add_service: tuple[Name, ...] = ()
    add_service_account: tuple[Name, ...] = ()
    add_service_as: tuple[Pair, ...] = ()
    add_client: tuple[Name, ...] = ()
    """Accounts that the host may speak as, and register nothing by."""
    add_cidr: tuple[str, ...] = ()
    remove_service: tuple[Name, ...] = ()
    remove_service_account: tuple[Name, ...] = ()
    remove_service_as: tuple[Pair, ...] = ()
    remove_cidr: tuple[str, ...] = ()

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Self:
        """Read the operator API's body. Raises BadInput that names the field."""
        body = RequestBody(values, what="change the grant")
        change = cls(
            add_service=_names(body, "add_service"),
            add_service_account=_names(body, "add_service_account"),
            add_service_as=_pairs(body, "add_service_as"),
            add_client=_names(body, "add_client"),
            add_cidr=body.cidrs("add_cidr"),
            remove_service=_names(body, "remove_service"),
            remove_service_account=_names(body, "remove_service_account"),
            remove_service_as=_pairs(body, "remove_service_as"),
            remove_cidr=body.cidrs("remove_cidr"),
        )
        body.done()
        if change == cls():
            raise BadInput("cannot change the grant: no change was asked for")
        return change


def apply(grant: Grant, change: GrantChange) -> Grant:
    """Give the grant after `change`: removals first, so that both can be said at once.

    Raises BadInput for a removal of what is not there: a typing error must not look like success.
    """
    claims = grant.claims
    for name in change.remove_service:
        claims = _without_service(grant, claims, _placed(grant, name))
    for name in change.remove_service_account:
        claims = _without_account(grant, claims, _placed(grant, name))
    for pair in change.remove_service_as:
        claims = _without_pair(grant, claims, _placed(grant, pair.service), pair.account)
    for name in change.add_service_account:
        claims = _with_account(claims, _placed(grant, name))
    for name in change.add_service:
        claims = _with_service(claims, _placed(grant, name))
    for pair in change.add_service_as:
        claims = _with_pair(claims, _placed(grant, pair.service), pair.account)
    for name in change.add_client:
        claims = _with_client(claims, _placed(grant, name))
    return replace(grant, claims=tuple(sorted(set(claims))), cidrs=_cidrs(grant, change))


def _names(body: RequestBody, key: str) -> tuple[Name, ...]:
    return tuple(_name(body, key, text) for text in body.texts(key))


def _name(body: RequestBody, key: str, text: str) -> Name:
    namespace, slash, name = text.rpartition("/")
    if slash:
        body.pattern(key, namespace)
    return Name(namespace, body.pattern(key, name))


def _pairs(body: RequestBody, key: str) -> tuple[Pair, ...]:
    pairs = []
    for text in body.texts(key):
        service, as_, account = text.partition(" as ")
        if not as_:
            raise body.refused(key, f"expected SERVICE as ACCOUNT, not {text!r}")
        pairs.append(Pair(_name(body, key, service), body.pattern(key, account)))
    return tuple(pairs)


def _placed(grant: Grant, name: Name) -> Name:
    """Fill in the namespace where the operator left it out."""
    if name.namespace:
        return name
    namespaces = {claim.namespace for claim in grant.claims} or {DEFAULT_NAMESPACE}
    if len(namespaces) > 1:
        known = ", ".join(sorted(namespaces))
        raise BadInput(
            f"cannot change the grant: {name.name!r} may be in any of the namespaces {known}; "
            f"write NAMESPACE/{name.name}"
        )
    return Name(namespaces.pop(), name.name)


def _without_account(grant: Grant, claims: tuple[Claim, ...], name: Name) -> tuple[Claim, ...]:
    gone = {c for c in claims if (c.namespace, c.service_account) == (name.namespace, name.name)}
    return _without(grant, claims, gone, name)


def _without_service(grant: Grant, claims: tuple[Claim, ...], name: Name) -> tuple[Claim, ...]:
    """Take a service away and leave its account: the host's apps go on calling others."""
    gone = {c for c in claims if (c.namespace, c.service) == (name.namespace, name.name)}
    return _as_clients(_without(grant, claims, gone, name), gone)


def _without_pair(
    grant: Grant, claims: tuple[Claim, ...], name: Name, account: str
) -> tuple[Claim, ...]:
    """Take one service from one account; both stay with whoever else has them."""
    gone = {Claim(name.namespace, account, name.name)}.intersection(claims)
    what = Name(name.namespace, f"{name.name} as {account}")
    return _as_clients(_without(grant, claims, gone, what), gone)


def _as_clients(left: tuple[Claim, ...], gone: set[Claim]) -> tuple[Claim, ...]:
    """Leave the accounts that registered what is gone and have nothing else any more."""
    kept = {(c.namespace, c.service_account) for c in left}
    bare = (replace(c, service="") for c in gone if (c.namespace, c.service_account) not in kept)
    return (*left, *bare)


def _without(
    grant: Grant, claims: tuple[Claim, ...], gone: set[Claim], name: Name
) -> tuple[Claim, ...]:
    if not gone:
        raise BadInput(
            f"cannot remove {name.namespace}/{name.name}: the grant covers {covers(grant)}"
        )
    return tuple(c for c in claims if c not in gone)


def _with_account(claims: tuple[Claim, ...], name: Name) -> tuple[Claim, ...]:
    """Let one more account hold a certificate and register what the others may."""
    services = {c.service for c in claims if c.namespace == name.namespace and c.service}
    return (*claims, *(Claim(name.namespace, name.name, s) for s in sorted(services) or ("",)))


def _with_service(claims: tuple[Claim, ...], name: Name) -> tuple[Claim, ...]:
    """Let every account of the namespace register it; without one, the account of its name.

    A client's bare claim becomes the service's: it stated nothing but the account.
    """
    accounts = {c.service_account for c in claims if c.namespace == name.namespace}
    kept = tuple(c for c in claims if c.namespace != name.namespace or c.service)
    added = (
        Claim(name.namespace, account, name.name)
        for account in sorted(accounts) or (account_of(name.name),)
    )
    return (*kept, *added)


def _with_pair(claims: tuple[Claim, ...], name: Name, account: str) -> tuple[Claim, ...]:
    """Let one account register one service: no other account gets it, it gets no other service."""
    bare = Claim(name.namespace, account)
    return (*(c for c in claims if c != bare), Claim(name.namespace, account, name.name))


def _with_client(claims: tuple[Claim, ...], name: Name) -> tuple[Claim, ...]:
    """Let one more account hold a certificate, by which nothing is registered."""
    known = any((c.namespace, c.service_account) == (name.namespace, name.name) for c in claims)
    return claims if known else (*claims, Claim(name.namespace, name.name))


def _cidrs(grant: Grant, change: GrantChange) -> tuple[str, ...]:
    for cidr in change.remove_cidr:
        if cidr not in grant.cidrs:
            known = ", ".join(grant.cidrs) or "none"
            raise BadInput(f"cannot remove network {cidr}: the grant has {known}")
    kept = (cidr for cidr in grant.cidrs if cidr not in change.remove_cidr)
    return tuple(dict.fromkeys((*kept, *change.add_cidr)))
