"""A rendered resource, and where a stream finds those it may see."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Resource:
    """Bytes of one resource, encoded once and shared by every stream that gets them."""

    type_url: str
    name: str
    version: str
    """Content hash: equal bytes, equal version, on every replica and after every restart."""
    body: bytes = field(repr=False)
    """The serialised message, without its Any; a Secret's holds a key, so no repr shows it."""


def version_of(body: bytes) -> str:
    """Give the content hash that serves as a resource's version."""
    return blake2b(body, digest_size=10).hexdigest()


def resource(type_url: str, name: str, body: bytes) -> Resource:
    """Build a resource with its version."""
    return Resource(type_url, name, version_of(body), body)


class Resources(Protocol):
    """All that one stream may see, as of now."""

    def get(self, type_url: str, name: str) -> Resource | None:
        """Give the resource of this name as this stream sees it, or None where there is none."""

    def names(self, type_url: str) -> Iterable[str]:
        """Give every name of the type: what a wildcard subscription means."""
