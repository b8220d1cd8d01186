"""Who calls without the mesh, as the hosts tell: kept in memory, the latest word of each host.

A host's word is bounded when it comes, and held against its declarations when it is read: these may
come later than the word, and a narrowed grant takes effect at once. Hosts say all of it anew to a
control plane that has just started.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hostmesh_controlplane.logic.declarations import MAX_TEXT
from hostmesh_controlplane.logic.registry import Inbound
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.ids import canonical_address
from hostmesh_core.model import MAX_SERVICES

MAX_CALLERS = 256
"""Addresses of one service of one host; its numbers count all."""
MAX_CALLERS_OF_HOST = 8192
"""Of all its services together: about 2 MB of this process's memory."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One source address at one host. Times are seconds since the epoch."""

    address: str
    requests: int
    first_seen: float
    last_seen: float


@dataclass(frozen=True, slots=True)
class Told:
    """What a host has counted of one service."""

    service: str
    """As the host writes it."""
    namespace: str
    workload_port: int
    since: float
    plaintext: int
    mutual_tls: int
    last_plaintext: float
    callers: tuple[Seen, ...]

    def is_about(self, declared: Inbound) -> bool:
        """Whether it counts this port of the host."""
        name, namespace = self.service, self.namespace
        full = f"{name}.{namespace}." if namespace else f"{name}."
        named = declared.service == name or declared.service.startswith(full)
        return named and declared.workload_port == self.workload_port


class CallerBook:
    """The latest word of every host."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[Told, ...]] = {}

    def put(self, host_id: str, word: pb.Callers, *, now: float) -> None:
        """Take a host's word, which is the whole of it."""
        self._told[host_id] = read(word, now=now)

    def forget(self, host_id: str) -> None:
        """Drop a host."""
        self._told.pop(host_id, None)

    def of(self, service: str, declared: Mapping[str, Iterable[Inbound]]) -> list[tuple[str, Told]]:
        """Give (host, what it counted) of a service, for those of its `declared` ports."""
        return [
            (host_id, told)
            for host_id, ports in sorted(declared.items())
            for told in self._told.get(host_id, ())
            if any(port.service == service and told.is_about(port) for port in ports)
        ]


def read(word: pb.Callers, *, now: float) -> tuple[Told, ...]:
    """Take what is well-formed and within bounds; a host's clock may be ahead of this one."""
    found: list[Told] = []
    room = MAX_CALLERS_OF_HOST
    for one in word.services[:MAX_SERVICES]:
        if max(len(one.service), len(one.namespace)) <= MAX_TEXT:
            found.append(_told(one, now, min(room, MAX_CALLERS)))
            room -= len(found[-1].callers)
    return tuple(found)


def _told(one: pb.ServiceCallers, now: float, most: int) -> Told:
    return Told(
        service=one.service,
        namespace=one.namespace,
        workload_port=one.workload_port,
        since=_time(one.since, now) or now,
        plaintext=one.plaintext,
        mutual_tls=one.mutual_tls,
        last_plaintext=_time(one.last_plaintext, now),
        callers=tuple(_callers(one.callers[:most], now)),
    )


def _callers(callers: Iterable[pb.PlaintextCaller], now: float) -> Iterable[Seen]:
    for one in callers:
        try:
            address = canonical_address(one.address)
        except ValueError:
            continue  # nothing that anybody could look for; a zone would be any text at all
        first, last = _time(one.first_seen, now), _time(one.last_seen, now)
        yield Seen(address, one.requests, first, last)


def _time(value: float, now: float) -> float:
    return min(max(value, 0.0), now) if math.isfinite(value) else 0.0
