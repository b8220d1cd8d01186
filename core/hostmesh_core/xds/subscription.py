"""What a stream asked for of one type (xDS protocol: how the client specifies what to return)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from sys import intern

from hostmesh_core import type_urls

WILDCARD = "*"

ALWAYS_NAMED = frozenset(
    {
        type_urls.SECRET,
        type_urls.ENDPOINT,
        type_urls.EXTENSION_CONFIG,
        type_urls.ROUTE,
        type_urls.VIRTUAL_HOST,
    }
)
"""Types of which an empty first request means nothing, not everything: a proxy that reconnects
while it needs none of them must not be sent all."""


@dataclass(slots=True)
class Subscription:
    """Names and the wildcard of one type on one stream."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set)

    def covers(self, name: str) -> bool:
        """Tell whether the stream wants this name."""
        return self.wildcard or name in self.names

    def among(self, names: Collection[str]) -> list[str]:
        """Give those of `names` that the stream wants, sorted."""
        if self.wildcard:
            return sorted(names)
        if len(names) < len(self.names):
            return sorted(name for name in names if name in self.names)
        wanted = set(names)
        return sorted(name for name in self.names if name in wanted)

    def add(self, names: Iterable[str]) -> None:
        """Subscribe. Equal names of all streams are one object in memory."""
        for name in names:
            if name == WILDCARD:
                self.wildcard = True
            else:
                self.names.add(intern(name))

    def remove(self, names: Iterable[str]) -> None:
        """Unsubscribe; what was not subscribed is ignored."""
        for name in names:
            if name == WILDCARD:
                self.wildcard = False
            else:
                self.names.discard(name)


def is_legacy_wildcard(type_url: str, *, first: bool, asked: bool) -> bool:
    """Tell whether a request means `*` without saying so: a type's first, that names nothing."""
    return first and not asked and type_url not in ALWAYS_NAMED
