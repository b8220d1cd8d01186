"""In which order a proxy must learn of things, so that nothing refers to what it has not got yet.

Additions and changes go in `type_urls.ORDER`, removals in the reverse of it, and after all
additions. Types that are not ours come after the known ones: nothing of ours refers to them.
"""

from collections.abc import Iterable

from hostmesh_core import type_urls

_RANK = {type_url: rank for rank, type_url in enumerate(type_urls.ORDER)}


def additions(types: Iterable[str]) -> list[str]:
    """Give the types in the order in which what is new or changed is sent."""
    return sorted(types, key=lambda type_url: (_RANK.get(type_url, len(_RANK)), type_url))


def removals(types: Iterable[str]) -> list[str]:
    """Give the types in the order in which what is gone is sent."""
    return additions(types)[::-1]
