"""Which service a further name leads to, where several claim it.

A name is one service's, for every client and every protocol: a service's own host name before all
aliases; of aliases the one of the source with the highest precedence, then of the smaller host
name. Whoever loses a name is told; nothing is decided by the order in which catalogs spoke.
"""

from collections.abc import Callable

from immutables import Map

from hostmesh_controlplane.logic.key_index import Listings

Rank = tuple[int, int, str]
"""Of a source (`unite.Rules.rank`): the smallest has the highest precedence."""

AliasClaims = Map[str, tuple[tuple[Rank, str], ...]]
"""Alias -> (rank, host name) of every service that claims it, the strongest first."""


def reclaimed(
    claims: AliasClaims,
    host: str,
    *,
    before: Listings,
    after: Listings,
    rank: Callable[[str], Rank],
) -> tuple[AliasClaims, frozenset[str]]:
    """Take in that a service is listed differently; give also the other services it touches."""
    had, has = _ranked(before, rank), _ranked(after, rank)
    if had == has:
        return claims, frozenset()
    touched: set[str] = set()
    changed = claims.mutate()
    for alias in {*had, *has}:
        others = [claim for claim in changed.get(alias, ()) if claim[1] != host]
        touched |= {other for _, other in others}
        mine = [(has[alias], host)] if alias in has else []
        if others or mine:
            changed[alias] = tuple(sorted([*others, *mine]))
        else:
            changed.pop(alias, None)
    return changed.finish(), frozenset(touched)


def claimants(claims: AliasClaims, name: str) -> frozenset[str]:
    """Give the services that claim a name as an alias."""
    return frozenset(host for _, host in claims.get(name, ()))


def lost(
    claims: AliasClaims, host: str, listings: Listings, *, exists: Callable[[str], bool]
) -> tuple[tuple[str, str], ...]:
    """Give (alias, its owner) of each alias that a service claims and does not get.

    `exists` tells whether there is a service of that very host name.
    """
    aliases = sorted({alias for _, listing in listings for alias in listing.aliases})
    found = ((alias, _owner(claims, alias, exists)) for alias in aliases if alias != host)
    return tuple((alias, owner) for alias, owner in found if owner not in ("", host))


def _owner(claims: AliasClaims, alias: str, exists: Callable[[str], bool]) -> str:
    if exists(alias):
        return alias
    strongest = claims.get(alias, ())
    return strongest[0][1] if strongest else ""


def _ranked(listings: Listings, rank: Callable[[str], Rank]) -> dict[str, Rank]:
    """Give the best rank of the sources that claim each alias."""
    found: dict[str, Rank] = {}
    for source, listing in listings:
        for alias in listing.aliases:
            found[alias] = min(found.get(alias, rank(source)), rank(source))
    return found
