"""Who is in the mesh of the entitlement tests, and how a refused attempt is known."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hostmesh_core._pb import host_pb2 as pb
from hostmesh_testing.meshed_host import LoopThread, MeshedHost
from hostmesh_testing.plane_process import PlaneProcess
from hostmesh_testing.waiting import wait_until

VICTIM_PORT = 9443
STRAY_PORT = 7777
"""Where a catalog says that `payments` is too, on the attacker's address, and no agent is."""

CATALOG = f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: payments, annotations: {{hostmesh.io/require-mesh: "true"}}}}
spec:
  hosts: [payments.default.mesh.internal]
  resolution: STATIC
  ports: [{{number: 443, name: tcp, protocol: TCP}}]
  endpoints:
    - {{address: 127.0.0.1, ports: {{tcp: {STRAY_PORT}}}}}
"""

WEB = pb.ServiceRegistration(
    service="web", port=80, workload_port=8080, protocol="http", health=pb.STATUS_HEALTHY
)
PAYMENTS = pb.ServiceRegistration(
    service="payments",
    port=443,
    workload_port=VICTIM_PORT,
    protocol="tcp",
    health=pb.STATUS_HEALTHY,
)


def web(**changed: object) -> pb.ServiceRegistration:
    """Give the attacker's own service with something in it that is not its own."""
    service = pb.ServiceRegistration()
    service.CopyFrom(WEB)
    service.MergeFrom(pb.ServiceRegistration(**changed))  # type: ignore[arg-type]
    return service


@dataclass(frozen=True)
class World:
    """Everybody."""

    plane: PlaneProcess
    loop: LoopThread
    victim: MeshedHost
    attacker: MeshedHost

    def endpoints(self, service: str) -> list[dict[str, object]]:
        rows = self.plane.api.get("endpoints", service)
        assert isinstance(rows, list)
        return rows

    def payments(self) -> str:
        """Give all that the mesh says of the victim's service."""
        return json.dumps(self.endpoints("payments"), sort_keys=True)

    def services(self) -> set[str]:
        rows = self.plane.api.get("services")
        assert isinstance(rows, list)
        return {str(row["host"]) for row in rows}

    @contextmanager
    def refusal(self, reason: str, *words: str) -> Iterator[None]:
        """Hold an attempt to this: counted under `reason`, in one line of the log with `words`,
        and the mesh is as it was.
        """
        counted = self.plane.refusals().get(reason, 0)
        logged = len(self.plane.log())
        payments, services = self.payments(), self.services()
        yield
        wait_until(
            lambda: self.plane.refusals().get(reason, 0) > counted, what=f"one more {reason!r}"
        )
        lines = [line for line in self.plane.log()[logged:].splitlines() if "refused" in line]
        assert any(all(word in line for word in words) for line in lines), lines
        assert self.payments() == payments
        assert self.services() == services
