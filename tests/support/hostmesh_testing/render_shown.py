"""Everything that a stream sees of a publication, and how two such views differ."""

from hostmesh_controlplane.logic.publication import Publication
from hostmesh_controlplane.logic.scope import Scope
from hostmesh_core import type_urls
from hostmesh_testing import render_mesh as mesh

Shown = dict[tuple[str, str], bytes]


def shown(publication: Publication, scope: Scope = mesh.SCOPE, host: str = mesh.HOST_ID) -> Shown:
    """Everything that a stream sees."""
    resources = publication.resources(scope, host)
    found = {}
    for type_url in type_urls.ORDER:
        for name in resources.names(type_url):
            resource = resources.get(type_url, name)
            assert resource is not None, name
            assert (type_url, name) not in found
            found[type_url, name] = resource.body
    return found


def differing(before: Shown, after: Shown) -> dict[str, set[str]]:
    """The names that are different, by type."""
    found: dict[str, set[str]] = {}
    for type_url, name in before.keys() | after.keys():
        if before.get((type_url, name)) != after.get((type_url, name)):
            found.setdefault(type_url, set()).add(name)
    return found
