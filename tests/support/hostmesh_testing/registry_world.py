"""A mesh around one host that registers services, for the tests of the registry's decisions."""

from dataclasses import dataclass, field

from hostmesh_controlplane.logic.claimant import Claimant
from hostmesh_controlplane.logic.registry import Decision, Holder, Surroundings, decide
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.ids import EndpointKey, SpiffeId

DOMAIN = "mesh.internal"
HOST = "7f3a1b2c" + "0" * 24
OTHER = "9b1c0d2e" + "0" * 24
WEB = f"web.default.{DOMAIN}"


def service(**fields: object) -> pb.ServiceRegistration:
    """Give a good registration of web, with these fields changed."""
    message = pb.ServiceRegistration(service="web", port=80, workload_port=8080, protocol="http")
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(message, name).extend(value)
        elif isinstance(value, dict):
            getattr(message, name).update(value)
        else:
            setattr(message, name, value)
    return message


@dataclass
class World:
    """A mesh around one host."""

    grant: Grant = field(default_factory=lambda: Grant(claims=(Claim("default", "web", "web"),)))
    source: str = "10.0.0.4"
    proven: frozenset[str] = frozenset({"10.0.0.4"})
    interfaces: frozenset[str] = frozenset()
    catalog: dict[str, set[EndpointKey]] = field(default_factory=dict)
    accepted: dict[str, set[SpiffeId]] = field(default_factory=dict)
    holders: dict[EndpointKey, Holder] = field(default_factory=dict)

    def decide(self, *services: pb.ServiceRegistration) -> Decision:
        return decide(services, {}, *self.parties())

    def parties(self) -> tuple[Claimant, Surroundings]:
        """Give the host and what is around it."""
        host = Claimant(
            host_id=HOST,
            grant=self.grant,
            source=self.source,
            proven=self.proven,
            interfaces=self.interfaces,
        )
        around = Surroundings(
            mesh_domain=DOMAIN,
            catalogued=lambda name: self.catalog.get(name, set()),
            accepted_ids=lambda name: self.accepted.get(name, set()),
            holder=self.holders.get,
            reserved=("240.240.0.0/16", "fd48:6d65:7368::/64"),
        )
        return host, around


def key(address: str, port: int = 8080) -> EndpointKey:
    return EndpointKey.of(address, port)


def keys_of(decision: Decision) -> list[str]:
    return [str(found) for instance in decision.instances for found in instance.keys]
