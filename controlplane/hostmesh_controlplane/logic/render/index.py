"""The facts of every service by the name of the resource that they make, kept incrementally.

A change of one service replaces that service's facts and names the resources that they feed;
nothing here ever walks over all services.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from hostmesh_controlplane.logic.render.endpoints import same_network
from hostmesh_controlplane.logic.render.views import (
    ClusterFacts,
    DirectFacts,
    EndpointFacts,
    TcpListenerFacts,
    VirtualHostFacts,
)
from hostmesh_controlplane.logic.render.virtual_hosts import PortVirtualHosts
from hostmesh_core import names, ports, type_urls
from hostmesh_core.model import Service

K = TypeVar("K")
V = TypeVar("V")

Named = tuple[str, str]
"""A type URL and a resource's name."""


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """All that one service decides, by the name of the resource it decides about."""

    clusters: dict[str, ClusterFacts] = field(default_factory=dict)
    endpoints: dict[str, EndpointFacts] = field(default_factory=dict)
    tcp: dict[str, TcpListenerFacts] = field(default_factory=dict)
    virtual_hosts: dict[int, VirtualHostFacts] = field(default_factory=dict)
    direct: dict[str, DirectFacts] = field(default_factory=dict)

    @classmethod
    def of(cls, service: Service | None) -> "ServiceFacts":
        """Take a service apart; None gives nothing."""
        found = cls()
        if service is None:
            return found
        for port in service.ports:
            name = names.outbound_cluster(service.host, port.number)
            found.clusters[name] = ClusterFacts.of(service, port.number, port.protocol)
            found.endpoints[name] = EndpointFacts.of(service, port.number)
            # A shared listener on one of Envoy's own ports would cost every host that port: there
            # an HTTP service is passed on by its address alone.
            if port.protocol.is_http and port.number not in ports.ENVOYS_OWN:
                found.virtual_hosts[port.number] = VirtualHostFacts.of(service, port.number)
            elif service.vip4 or service.vip6:
                listener = names.outbound_tcp_listener(service.vip4 or service.vip6, port.number)
                found.tcp[listener] = TcpListenerFacts(
                    service.host, port.number, service.vip4, service.vip6
                )
        found.direct.update(_direct(service))
        return found


class OutboundIndex:
    """What all services decide together."""

    def __init__(self) -> None:
        """Start with an empty mesh."""
        self._services: dict[str, ServiceFacts] = {}
        self.clusters: dict[str, ClusterFacts] = {}
        self.endpoints: dict[str, EndpointFacts] = {}
        self.tcp: dict[str, TcpListenerFacts] = {}
        self.http: dict[int, PortVirtualHosts] = {}
        """The ports with HTTP services."""
        self.direct: dict[str, dict[tuple[str, str], DirectFacts]] = {}
        """Per listener name: (network, host) -> facts; more than one only across networks."""
        self.http_listeners: dict[str, int] = {}
        self.routes: dict[str, int] = {}

    def replace(self, host: str, service: Service | None) -> Iterator[Named]:
        """Take over a service's new value, and give the resources whose facts changed."""
        old = self._services.pop(host, ServiceFacts())
        new = ServiceFacts.of(service)
        if service is not None:
            self._services[host] = new
        yield from _exchange(self.clusters, old.clusters, new.clusters, type_urls.CLUSTER)
        yield from _exchange(self.endpoints, old.endpoints, new.endpoints, type_urls.ENDPOINT)
        yield from _exchange(self.tcp, old.tcp, new.tcp, type_urls.LISTENER)
        yield from self._exchange_virtual_hosts(host, old, new)
        yield from self._exchange_direct(host, old, new)

    def direct_facts(self, name: str, network: str) -> DirectFacts | None:
        """Give the instance that a client of this network reaches at these addresses."""
        owners = self.direct.get(name, {})
        near = (owner for owner in sorted(owners) if same_network(network, owner[0]))
        first = next(near, None)
        return None if first is None else owners[first]

    def direct_names(self, network: str) -> Iterator[str]:
        """Give the listener names of all instances that a client of this network reaches."""
        return (name for name in self.direct if self.direct_facts(name, network) is not None)

    def _exchange_virtual_hosts(
        self, host: str, old: ServiceFacts, new: ServiceFacts
    ) -> Iterator[Named]:
        for port in _differing(old.virtual_hosts, new.virtual_hosts):
            hosts = self.http.setdefault(port, PortVirtualHosts())
            hosts.replace(host, new.virtual_hosts.get(port))
            yield type_urls.ROUTE, names.outbound_route(port)
            yield from self._open_or_close(port)

    def _open_or_close(self, port: int) -> Iterator[Named]:
        """Keep the port's listener while it has a service; its content depends on none."""
        listener, route = names.outbound_http_listener(port), names.outbound_route(port)
        if self.http[port] and listener not in self.http_listeners:
            self.http_listeners[listener] = self.routes[route] = port
            yield type_urls.LISTENER, listener
        elif not self.http[port]:
            del self.http[port]
            del self.http_listeners[listener], self.routes[route]
            yield type_urls.LISTENER, listener

    def _exchange_direct(self, host: str, old: ServiceFacts, new: ServiceFacts) -> Iterator[Named]:
        for name in _differing(old.direct, new.direct):
            owners = self.direct.setdefault(name, {})
            if (gone := old.direct.get(name)) is not None:
                del owners[gone.key.network, host]
            if (come := new.direct.get(name)) is not None:
                owners[come.key.network, host] = come
            if not owners:
                del self.direct[name]
            yield type_urls.LISTENER, name


def _direct(service: Service) -> Iterable[tuple[str, DirectFacts]]:
    """Give a listener per address of a registered instance, healthy or not: never plaintext.

    Of their own, not one with additional addresses: an instance whose addresses change would need
    a new one while the old one has some of them still, which Envoy refuses (measured). An instance
    may serve several of the service's ports; the smallest one names it.
    """
    found: dict[str, DirectFacts] = {}
    for endpoint in sorted(service.endpoints, key=lambda each: each.service_port):
        if not endpoint.meshed:
            continue
        for key in (endpoint.key, *endpoint.additional):
            facts = DirectFacts(service.host, endpoint.service_port, key, service.identities)
            found.setdefault(names.direct_listener(key.address, key.port), facts)
    return found.items()


def _exchange(
    index: dict[str, V], old: dict[str, V], new: dict[str, V], type_url: str
) -> Iterator[Named]:
    for name in _differing(old, new):
        if name in new:
            index[name] = new[name]
        elif index.get(name) == old[name]:  # else another service has just taken the name over
            del index[name]
        yield type_url, name


def _differing(old: dict[K, V], new: dict[K, V]) -> list[K]:
    return [key for key in {**old, **new} if old.get(key) != new.get(key)]
