"""All virtual hosts of one port, encoded once per view and kept in order.

A RouteConfiguration carries every service of its port, so a change of one service makes it anew.
What is done then for the other services has to be next to nothing: their bytes are kept here.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator

from hostmesh_controlplane.logic.render import routes
from hostmesh_controlplane.logic.render.domains import PortDomains
from hostmesh_controlplane.logic.render.views import (
    RouteView,
    VirtualHostFacts,
    VirtualHostView,
)


class PortVirtualHosts:
    """The HTTP services of one port."""

    def __init__(self) -> None:
        """Start without services."""
        self._facts: dict[str, VirtualHostFacts] = {}
        self._order: list[str] = []
        self._domains = PortDomains()
        self._contested: set[str] = set()
        """Hosts that share a domain with another: theirs may differ by client namespace."""
        self._kept: dict[str, dict[RouteView, bytes]] = {}

    def __bool__(self) -> bool:
        """Tell whether there is any service."""
        return bool(self._facts)

    def replace(self, host: str, facts: VirtualHostFacts | None) -> None:
        """Take over a service's new facts; None = it is gone."""
        rivals: frozenset[str] = frozenset()
        old = self._facts.pop(host, None)
        if old is not None:
            rivals |= self._domains.remove(old)
            del self._order[bisect_left(self._order, host)]
        if facts is not None:
            rivals |= self._domains.add(facts)
            self._facts[host] = facts
            insort(self._order, host)
        self._forget(host)
        for rival in rivals:
            self._forget(rival)

    def encoded(self, view: RouteView) -> Iterator[bytes]:
        """Give each virtual host as a field of a RouteConfiguration, by host name."""
        for host in self._order:
            facts = self._facts[host]
            key = view if host in self._contested else _narrowed(view, facts)
            kept = self._kept.setdefault(host, {})
            if key not in kept:
                kept[key] = self._render(facts, key)
            yield kept[key]

    def _render(self, facts: VirtualHostFacts, view: RouteView) -> bytes:
        owned = self._domains.owned(facts, view.namespace)
        if not owned:
            return b""  # Envoy refuses a virtual host without a domain, and the port with it
        return routes.virtual_host(VirtualHostView(owned, view.anonymous, view.capture_port), facts)

    def _forget(self, host: str) -> None:
        self._kept.pop(host, None)
        facts = self._facts.get(host)
        if facts is not None and self._domains.rivals(facts):
            self._contested.add(host)
        else:
            self._contested.discard(host)


def _narrowed(view: RouteView, facts: VirtualHostFacts) -> RouteView:
    """Leave of the view what matters to a service whose names nobody else claims."""
    local = view.namespace if view.namespace == facts.namespace else ""
    return RouteView.seen(
        local, anonymous=view.anonymous and facts.meshed, capture_port=view.capture_port
    )
