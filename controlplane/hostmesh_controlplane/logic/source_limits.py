"""How much one catalog may fill the mesh with: its writer is not trusted to stop by himself.

What is passed on already keeps its place; what comes beyond a limit is left out and named. No limit
touches a registered host: it needs no catalog.
"""

from collections.abc import Sequence
from dataclasses import replace

from hostmesh_controlplane.logic.catalog import CatalogService

SHOWN = 20
"""Remarks of one kind that are told whole."""
_STEPS = (10_000, 1_000, 100, 10, 1)


def bounded(
    service: CatalogService, *, known: CatalogService | None, most: int, room: int
) -> CatalogService:
    """Give the service with at most `most` and `room` endpoints, those of `known` first."""
    limit = max(0, min(most, room))
    if len(service.endpoints) <= limit:
        return service
    passed = {endpoint.key for endpoint in known.endpoints} if known else set()
    ordered = sorted(service.endpoints, key=lambda e: (e.key not in passed, e.key, e.service_port))
    key = "max_endpoints_per_service" if most <= room else "max_endpoints"
    # Without a count: each other text is a line in the log.
    said = f"{service.host}: endpoints are left out, {limit} are as many as {key} allows"
    return replace(
        service,
        endpoints=tuple(sorted(ordered[:limit], key=lambda e: (e.key, e.service_port))),
        problems=(*service.problems, said),
    )


def left_out(names: Sequence[str], *, most: int) -> str:
    """Say which names are not taken; empty where none is. One sentence, however many they are."""
    if not names:
        return ""
    first = ", ".join(names[:3])
    return (
        f"{len(names)} Consul services are left out ({first}{', …' if len(names) > 3 else ''}): "
        f"they are more than max_services {most}, or came faster than new ones are taken"
    )


class Remarks:
    """What cannot be used, by name: the first ones whole, of the rest about how many.

    About, because each change of a source's remarks is told and logged.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._more: set[str] = set()
        self.texts: tuple[str, ...] = ()

    def put(self, name: str, text: str) -> None:
        """Take in a remark about `name`."""
        if name in self._texts or len(self._texts) < SHOWN:
            if self._texts.get(name) != text:
                self._texts[name] = text
                self._tell()
        elif name not in self._more:
            self._more.add(name)
            self._tell()

    def drop(self, name: str) -> None:
        """Forget it."""
        if name in self._more:
            self._more.discard(name)
            self._tell()
        elif self._texts.pop(name, None) is not None:
            self._tell()

    def _tell(self) -> None:
        step = next((step for step in _STEPS if len(self._more) >= step), 0)
        more = (f"{step} or more other Consul services cannot be taken either",) if step else ()
        self.texts = (*sorted(self._texts.values()), *more)
