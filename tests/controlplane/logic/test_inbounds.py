import pytest

from hostmesh_controlplane.logic import inbounds
from hostmesh_controlplane.logic.registry import Inbound as Declared
from hostmesh_core.ids import Identity
from hostmesh_core.model import InboundMode, Port, Protocol, Service

STRICT, PERMISSIVE, DISABLE = InboundMode.STRICT, InboundMode.PERMISSIVE, InboundMode.DISABLE
WEB = "web.default.mesh.internal"


@pytest.mark.parametrize(
    ("declared", "service", "mesh_wide", "expected"),
    [
        pytest.param(None, None, PERMISSIVE, PERMISSIVE, id="the mesh's"),
        pytest.param(None, STRICT, PERMISSIVE, STRICT, id="the service's before the mesh's"),
        pytest.param(STRICT, PERMISSIVE, PERMISSIVE, STRICT, id="a host may be stricter"),
        pytest.param(PERMISSIVE, STRICT, PERMISSIVE, STRICT, id="a host cannot lower a service"),
        pytest.param(PERMISSIVE, None, STRICT, STRICT, id="nor a strict mesh"),
        pytest.param(PERMISSIVE, PERMISSIVE, STRICT, PERMISSIVE, id="which an operator can"),
        pytest.param(DISABLE, STRICT, STRICT, STRICT, id="nor take its port out of a strict one"),
        pytest.param(DISABLE, None, PERMISSIVE, DISABLE, id="elsewhere it may take its port out"),
    ],
)
def test_mode(
    declared: InboundMode | None,
    service: InboundMode | None,
    mesh_wide: InboundMode,
    expected: InboundMode,
) -> None:
    assert inbounds.mode_of(declared, service, mesh_wide) is expected


def _declared(protocol: Protocol | None) -> Declared:
    return Declared(
        service=WEB,
        service_port=80,
        workload_port=8080,
        identity=Identity("default", "web"),
        protocol=protocol,
        mode=None,
        listen=None,
        mesh_port=0,
        server_first=False,
    )


@pytest.mark.parametrize(
    ("protocol", "known", "expected"),
    [
        pytest.param(Protocol.GRPC, Protocol.HTTP, Protocol.GRPC, id="the host's word"),
        pytest.param(None, Protocol.HTTP, Protocol.HTTP, id="the catalog's word"),
        pytest.param(None, None, Protocol.TCP, id="nobody's: tcp"),
    ],
)
def test_protocol(protocol: Protocol | None, known: Protocol | None, expected: Protocol) -> None:
    service = Service(WEB, "default", ports=(Port(80, known),)) if known else None
    result = inbounds.inbound_of(
        [_declared(protocol)],
        lambda _: service,
        mesh_wide=PERMISSIVE,
        trust_domain="mesh.internal",
    )
    (port,) = result.ports
    assert (port.protocol, port.mode, port.workload_port) == (expected, PERMISSIVE, 8080)
