"""Whether a host is entitled to a declaration: its grant, and what the service's clients accept.

Also the word for every reason that a declaration is refused for, and the error that carries it.
"""

from collections.abc import Callable, Set
from enum import StrEnum

from hostmesh_controlplane.logic import declarations
from hostmesh_controlplane.logic.claimant import Claimant
from hostmesh_controlplane.logic.declarations import Declaration
from hostmesh_core.grant import Grant
from hostmesh_core.ids import SpiffeId


class Why(StrEnum):
    """Why a declaration was refused: the label of the counter."""

    UNREADABLE = "unreadable"
    NOT_GRANTED = "not_granted"
    ACCOUNT_NOT_ACCEPTED = "account_not_accepted"
    ADDRESS = "address"
    TAKEN = "taken"
    TOO_MANY = "too_many"
    """More ports of one service than one host may have."""
    NOT_DECLARED = "not_declared"
    """A report or a drain about a service that the host has not declared."""


class NotAllowed(Exception):
    """A declaration does not hold; the text is the sentence for host and log."""

    def __init__(self, why: Why, reason: str) -> None:
        super().__init__(reason)
        self.why = why


def entitled(
    declared: Declaration,
    host: Claimant,
    *,
    mesh_domain: str,
    accepted: Callable[[str], Set[SpiffeId]],
) -> None:
    """Hold a declaration against the grant, and its account against what clients accept.

    `accepted` gives the SPIFFE ids that a service's own configuration names. Raises NotAllowed.
    """
    claims = declarations.covering_claims(host.grant, declared)
    at = f"{declared.written}:{declared.port}"
    wanted = f"{declared.namespace}/{declared.short}"
    account = f"{declared.namespace}/{declared.identity.service_account}"
    allow = (
        f"allow it with: hostmesh host grant {host.host_id} "
        f"--add-service-as {wanted} {declared.identity.service_account}"
    )
    if not claims:
        raise NotAllowed(
            Why.NOT_GRANTED,
            f"{at} refused: the grant of host {short(host)} covers {_covered(host.grant)}, "
            f"not service {wanted} as service account {account}; {allow}",
        )
    spiffe = SpiffeId.of_workload(mesh_domain, declared.identity)
    named_exactly = any(c.is_exact and not set(c.service) & set("*?[") for c in claims)
    own_account = declared.identity.service_account == declared.short
    if not (own_account or named_exactly or spiffe in accepted(declared.host)):
        raise NotAllowed(
            Why.ACCOUNT_NOT_ACCEPTED,
            f"{at} refused: clients of {declared.host} do not accept service account {account}; "
            f"a pattern in the grant of host {short(host)} entitles to register and makes "
            f"clients accept nobody; {allow}",
        )


def short(host: Claimant) -> str:
    """Name a host within a sentence; a command to paste has the whole id."""
    return f"{host.host_id[:8]}…"


def _covered(grant: Grant) -> str:
    services = sorted(
        f"{claim.namespace}/{claim.service} as {claim.service_account}"
        for claim in grant.claims
        if claim.service
    )
    return ", ".join(services) or "no service (it is a pure client's)"
