"""How far a service is in the mesh: plain, mixed, mesh (DESIGN 5), and who may change it.

The state is stored and sticky. It is born with the first registration, and from then on only an
operator or static configuration moves it: never leases, restarts or what a catalog lists.
"""

import ipaddress
import json
from dataclasses import dataclass, replace

from hostmesh_core.ids import EndpointKey
from hostmesh_core.model import (
    Health,
    InboundMode,
    Port,
    Protocol,
    Service,
    ServiceState,
)


@dataclass(frozen=True, slots=True)
class KeptService:
    """What stays of a service whose last instance fell silent: its clients get 503, not a hole."""

    namespace: str
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """When something of a service was last set, and by whom."""

    at: float = 0.0
    """Seconds since the epoch; 0 = nobody set it."""
    by: str = ""


NEVER = Mark()


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """All that is stored of one service beside its catalogs and registrations."""

    state: ServiceState = ServiceState.PLAIN
    state_set: Mark = NEVER
    inbound: InboundMode | None = None
    inbound_set: Mark = NEVER
    unmeshed_cidrs: tuple[str, ...] = ()
    """In state mixed: the only networks whose unmeshed endpoints are reached; empty = all."""
    ended: tuple[EndpointKey, ...] = ()
    """Keys whose lease or grant ended: out, whatever a catalog still says of them."""
    kept: KeptService | None = None
    weight_limit: int = 0
    """What a catalog's weights count up to (`logic/weights`); 0 = not settled yet."""

    def to_bytes(self) -> bytes:
        """Give the stored form."""
        kept = self.kept
        return json.dumps(
            {
                "state": self.state.value,
                "state_set": [self.state_set.at, self.state_set.by],
                "inbound": self.inbound.value if self.inbound else None,
                "inbound_set": [self.inbound_set.at, self.inbound_set.by],
                "unmeshed_cidrs": list(self.unmeshed_cidrs),
                "weight_limit": self.weight_limit,
                "ended": [[key.network, key.address, key.port] for key in self.ended],
                "kept": kept
                and {
                    "namespace": kept.namespace,
                    "ports": [
                        [p.number, p.protocol.value, p.name, p.protocol_defaulted, p.server_first]
                        for p in kept.ports
                    ],
                },
            }
        ).encode()

    @classmethod
    def from_bytes(cls, value: bytes) -> "ServiceRecord":
        """Read the stored form, which only this class writes."""
        stored = json.loads(value)
        kept = stored["kept"]
        return cls(
            state=ServiceState(stored["state"]),
            state_set=Mark(*stored.get("state_set", ())),  # absent in what older versions wrote
            inbound=InboundMode(stored["inbound"]) if stored["inbound"] else None,
            inbound_set=Mark(*stored.get("inbound_set", ())),
            unmeshed_cidrs=tuple(stored["unmeshed_cidrs"]),
            weight_limit=stored.get("weight_limit", 0),
            ended=tuple(EndpointKey(*key) for key in stored["ended"]),
            kept=kept
            and KeptService(
                kept["namespace"],
                tuple(
                    Port(number, Protocol(protocol), name, defaulted, first)
                    for number, protocol, name, defaulted, first in kept["ports"]
                ),
            ),
        )

    def admits_unmeshed(self, address: str) -> bool:
        """Whether an unmeshed endpoint at `address` keeps its place in state mixed."""
        if not self.unmeshed_cidrs:
            return True
        ip = ipaddress.ip_address(address)
        return any(ip in ipaddress.ip_network(cidr) for cidr in self.unmeshed_cidrs)


@dataclass(frozen=True, slots=True)
class Decision:
    """What an operator's command comes to. Nothing is changed by it: store `record`, then merge."""

    record: ServiceRecord
    refused: str = ""
    """A sentence; not empty = do nothing."""


def born(*, required: bool, listed: bool, sources_certain: bool) -> ServiceState:
    """Give the state of a plain service at its first registration.

    `required`: static configuration or the token says so. `listed`: a catalog lists it.
    `sources_certain`: every source is healthy, synced and holds nothing, so "not listed" is true.
    """
    if required or (sources_certain and not listed):
        return ServiceState.MESH
    return ServiceState.MIXED


def why_born(*, required: bool, listed: bool, sources_certain: bool) -> str:
    """Give the reason of `born`'s answer in words."""
    if required:
        return "its token requires the mesh"
    if listed:
        return "a catalog lists it"
    return "no catalog lists it" if sources_certain else "a catalog may list it: one was away"


def require_mesh(
    service: Service, record: ServiceRecord, *, force: bool, mark: Mark = NEVER
) -> Decision:
    """Raise a service to mesh; refuse without `force` while a healthy unmeshed endpoint is left.

    What is mesh already stays so without question: nobody loses anything by it.
    """
    healthy = [
        endpoint
        for endpoint in service.endpoints
        if not endpoint.meshed and endpoint.health is not Health.UNHEALTHY
    ]
    if force or not healthy or record.state is ServiceState.MESH:
        return Decision(_set_state(record, ServiceState.MESH, (), mark))
    listed = ", ".join(f"{e.key} ({'+'.join(e.sources)})" for e in healthy[:5])
    more = f" and {len(healthy) - 5} more" if len(healthy) > 5 else ""
    return Decision(
        record,
        refused=f"cannot require mesh for {service.host}: {_count(len(healthy))} not meshed and "
        f"healthy: {listed}{more}; join them, or withhold them with "
        f"`hostmesh service require-mesh {service.host} --force`",
    )


def allow_unmeshed(
    service: Service,
    record: ServiceRecord,
    *,
    cidrs: tuple[str, ...] = (),
    take_weights: bool = False,
    required_by: str = "",
    mark: Mark = NEVER,
) -> Decision:
    """Let unmeshed endpoints in again (all, or those in `cidrs`). With `take_weights` what
    catalogs' weights count up to is settled anew from what they say now.

    `required_by` is the origin of a static document that demands mesh: then it is refused, because
    the document would take the command back.
    """
    if required_by:
        return Decision(
            record,
            refused=f"cannot allow unmeshed endpoints of {service.host}: {required_by} says "
            "hostmesh.io/require-mesh; take the annotation out first",
        )
    if record.state is ServiceState.PLAIN:
        return Decision(
            record,
            refused=f"cannot allow unmeshed endpoints of {service.host}: it is plain, so all of "
            "its endpoints are reached as their catalog says already",
        )
    lowered = _set_state(record, ServiceState.MIXED, cidrs, mark)
    return Decision(replace(lowered, weight_limit=0) if take_weights else lowered)


def set_inbound(
    record: ServiceRecord, mode: InboundMode | None, mark: Mark = NEVER
) -> ServiceRecord:
    """Set what the service's own Envoys accept; None = the mesh-wide mode again."""
    return record if mode is record.inbound else replace(record, inbound=mode, inbound_set=mark)


def release(record: ServiceRecord, keys: tuple[EndpointKey, ...] = ()) -> ServiceRecord:
    """Forget that these keys' leases ended; where none is named all of the service's, and with
    them the service itself if nothing else is left of it.
    """
    left = tuple(key for key in record.ended if keys and key not in keys)
    return replace(record, ended=left, kept=record.kept if keys else None)


def _set_state(
    record: ServiceRecord, state: ServiceState, cidrs: tuple[str, ...], mark: Mark
) -> ServiceRecord:
    """Set the state; whoever asks for what is so already has not set it."""
    if (record.state, record.unmeshed_cidrs) == (state, cidrs):
        return record
    return replace(record, state=state, unmeshed_cidrs=cidrs, state_set=mark)


def _count(number: int) -> str:
    return "1 endpoint is" if number == 1 else f"{number} endpoints are"
