"""A generation: all resources that belong together, as one value, and as bytes that prove it.

The control plane refuses one that refers to what is not there. The agent keeps the last ones on
disk and starts Envoy from them while no control plane answers; bytes that a crash or a bad disk
cut short must be recognised then, so everything in them is hashed.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from hostmesh_core import type_urls
from hostmesh_core.errors import HostmeshError
from hostmesh_core.xds import order, references
from hostmesh_core.xds.resource import Resource

ByName = Mapping[str, Resource]
Manifest = dict[str, Any]
ReferencesOf = Callable[[Resource], references.References]

_MAGIC = b"hostmesh-generation-1"
_EMPTY: ByName = {}


class Damaged(HostmeshError):
    """Stored bytes are not what was once written."""


@dataclass(frozen=True, slots=True)
class Generation:
    """Resources by type and name. A `Resources`: a stream can be served from it."""

    by_type: Mapping[str, ByName] = field(default_factory=dict)
    absent: frozenset[tuple[str, str]] = frozenset()
    """Type and name of what was asked for and answered as not existing."""
    sequence: int = 0
    """Counts upwards on one host; means nothing elsewhere."""

    def get(self, type_url: str, name: str) -> Resource | None:
        """Give a resource, or None where there is none."""
        return self.by_type.get(type_url, _EMPTY).get(name)

    def names(self, type_url: str) -> Iterable[str]:
        """Give every name of a type."""
        return self.by_type.get(type_url, _EMPTY).keys()

    def __iter__(self) -> Iterator[Resource]:
        """Give every resource, types in the order in which they are sent."""
        for type_url in order.additions(self.by_type):
            yield from self.by_type[type_url].values()

    def __len__(self) -> int:
        """Count the resources."""
        return sum(len(named) for named in self.by_type.values())


def generation_of(
    resources: Iterable[Resource],
    *,
    absent: Iterable[tuple[str, str]] = (),
    sequence: int = 0,
) -> Generation:
    """Build a generation; of two resources with one type and name the last counts."""
    by_type: dict[str, dict[str, Resource]] = {}
    for resource in resources:
        by_type.setdefault(resource.type_url, {})[resource.name] = resource
    return Generation(by_type, frozenset(absent), sequence)


def changed(before: Generation, after: Generation) -> dict[str, set[str]]:
    """Give the names that are new, other or gone, or newly known to be absent, by type."""
    names: dict[str, set[str]] = {}
    for type_url in {*before.by_type, *after.by_type}:
        old = before.by_type.get(type_url, _EMPTY)
        new = after.by_type.get(type_url, _EMPTY)
        # Most are the very same object: comparing bytes is for those that are not.
        differ = {
            name
            for name, resource in new.items()
            if (was := old.get(name)) is not resource and was != resource
        }
        differ.update(name for name in old if name not in new)
        if differ:
            names[type_url] = differ
    for type_url, name in after.absent - before.absent:
        names.setdefault(type_url, set()).add(name)
    return names


def dangling(
    generation: Generation, of: ReferencesOf = references.of
) -> frozenset[tuple[str, str]]:
    """Give (type, name) of everything referred to that is neither there nor answered as absent.

    A generation is closed, and may be stored and served, when this is empty. Clusters that a
    route names are not counted: a route may name one that is only to come (DESIGN 8, `on_demand`).
    """
    open_names: set[tuple[str, str]] = set()
    for type_url in (type_urls.CLUSTER, type_urls.LISTENER):
        for resource in generation.by_type.get(type_url, _EMPTY).values():
            for wanted, names in of(resource).by_type():
                present = generation.by_type.get(wanted, _EMPTY)
                open_names.update((wanted, name) for name in names if name not in present)
    return frozenset(open_names - generation.absent)


def dangling_clusters(
    generation: Generation, of: ReferencesOf = references.of
) -> frozenset[tuple[str, str]]:
    """Give (name of the route or listener, name of the cluster) where that cluster is missing."""
    clusters = generation.by_type.get(type_urls.CLUSTER, _EMPTY)
    return frozenset(
        (resource.name, cluster)
        for type_url in (type_urls.LISTENER, type_urls.ROUTE, type_urls.VIRTUAL_HOST)
        for resource in generation.by_type.get(type_url, _EMPTY).values()
        for cluster in of(resource).clusters
        if cluster not in clusters
    )


def encode(generation: Generation) -> bytes:
    """Give the bytes to keep: a line with the manifest's hash, the manifest, then the bodies.

    The manifest has each resource's own hash, so the first line vouches for all of it.
    """
    return _pack(
        list(generation),
        {"sequence": generation.sequence, "absent": sorted(generation.absent)},
    )


def decode(data: bytes) -> Generation:
    """Read what `encode` gave. Raises Damaged where anything at all differs from it."""
    manifest, resources, end = _unpack(data)
    if end != len(data):
        raise Damaged("cannot use a stored generation: it has bytes that its manifest lacks")
    return generation_of(
        resources, absent=_pairs(manifest["absent"]), sequence=manifest["sequence"]
    )


def encode_step(before: Generation, after: Generation) -> bytes:
    """Give what leads from one generation to the next: most change little of it."""
    names = [
        (type_url, name)
        for type_url, differ in changed(before, after).items()
        for name in sorted(differ)
    ]
    found = [(key, after.get(*key)) for key in names]
    return _pack(
        [resource for _, resource in found if resource is not None],
        {
            "before": before.sequence,
            "sequence": after.sequence,
            "gone": [key for key, resource in found if resource is None],
            "absent": sorted(after.absent) if after.absent != before.absent else None,
        },
    )


def decode_steps(base: Generation, data: bytes) -> Generation:
    """Follow the steps that were written one after the other, as far as they are whole.

    A kill while one was being written leaves its beginning: that one was never stored.
    """
    reached = base
    end = 0
    while end < len(data):
        try:
            manifest, resources, end = _unpack(data, end)
        except Damaged:
            break
        if manifest.get("before") != reached.sequence:
            break
        reached = _follow(reached, manifest, resources)
    return reached


def _follow(before: Generation, manifest: Manifest, resources: list[Resource]) -> Generation:
    touched = {item.type_url for item in resources} | {kind for kind, _ in manifest["gone"]}
    named = {type_url: dict(before.by_type.get(type_url, _EMPTY)) for type_url in touched}
    for type_url, name in manifest["gone"]:
        named[type_url].pop(name, None)
    for item in resources:
        named[item.type_url][item.name] = item
    absent = before.absent
    if manifest["absent"] is not None:
        absent = frozenset(_pairs(manifest["absent"]))
    return Generation({**before.by_type, **named}, absent, manifest["sequence"])


def _pack(resources: list[Resource], about: Manifest) -> bytes:
    listed = [
        [item.type_url, item.name, item.version, len(item.body), _hash(item.body)]
        for item in resources
    ]
    line = json.dumps({**about, "resources": listed}, separators=(",", ":")).encode()
    head = _MAGIC + b" " + _hash(line).encode()
    return b"\n".join((head, line, b"".join(item.body for item in resources)))


def _unpack(data: bytes, start: int = 0) -> tuple[Manifest, list[Resource], int]:
    """Read what `_pack` gave, from `start` on; give manifest, resources, and where it ends."""
    end_of_head = data.find(b"\n", start)
    end_of_line = data.find(b"\n", end_of_head + 1)
    line = data[end_of_head + 1 : end_of_line]
    whole = start <= end_of_head < end_of_line
    if not whole or data[start:end_of_head] != _MAGIC + b" " + _hash(line).encode():
        raise Damaged("cannot use a stored generation: its manifest is damaged")
    manifest: Manifest = json.loads(line)
    resources = []
    offset = end_of_line + 1
    for type_url, name, version, size, digest in manifest["resources"]:
        body = data[offset : offset + size]
        if _hash(body) != digest:
            raise Damaged(f"cannot use a stored generation: {name!r} in it is damaged")
        resources.append(Resource(type_url, name, version, body))
        offset += size
    return manifest, resources, offset


def _pairs(listed: Iterable[list[str]]) -> list[tuple[str, str]]:
    return [(type_url, name) for type_url, name in listed]


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=20).hexdigest()
