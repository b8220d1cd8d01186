"""Both ends of a session between host and control plane, and what is said in it."""

from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.host_session import HostSession


def agent() -> HostSession[pb.Up, pb.Down]:
    return HostSession(pb.Up)


def plane() -> HostSession[pb.Down, pb.Up]:
    return HostSession(pb.Down)


def register(generation: int) -> pb.Register:
    return pb.Register(generation=generation)


def health(service: str, reason: str = "") -> pb.HealthReport:
    return pb.HealthReport(service=service, workload_port=80, reason=reason)


def names(envelopes: list[pb.Up]) -> list[str]:
    return [str(envelope.WhichOneof("body")) for envelope in envelopes]
