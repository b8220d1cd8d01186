import pytest

from hostmesh_agent.config import ServiceConfig
from hostmesh_agent.logic import config_services
from hostmesh_core.errors import BadInput
from hostmesh_core.model import Protocol
from hostmesh_core.sections import load_section

RESERVED = {15001: "ports.outbound"}


def parse(text: str) -> tuple[ServiceConfig, ...]:
    top = load_section(text, file="agent.yaml")
    services = config_services.parse(top, RESERVED)
    top.done()
    return services


def test_one_service_may_have_several_ports() -> None:
    first, second = parse(
        "services:\n  - {name: web, port: 80, protocol: http}\n  - {name: web, port: 81}\n"
    )
    assert (first.name, first.port, first.protocol) == ("web", 80, Protocol.HTTP)
    assert (second.port, second.protocol) == (81, None)


def test_two_services_may_share_an_app_behind_ports_of_their_own() -> None:
    services = parse(
        "services:\n"
        "  - {name: a, port: 80, mesh_port: 8001}\n"
        "  - {name: b, port: 80, mesh_port: 8002}\n"
    )
    assert [service.endpoint_port for service in services] == [8001, 8002]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        pytest.param("{name: b, port: 80}", "services[1].port: port 80 is", id="one port"),
        pytest.param(
            "{name: b, port: 81, mesh_port: 80}",
            "services[1].mesh_port: port 80 is",
            id="mesh port",
        ),
        pytest.param(
            "{name: a, port: 81, service_port: 80}", "services[1].name: a:80 is", id="service port"
        ),
        pytest.param("{name: b, port: 15001}", "the proxy's own (ports.outbound)", id="proxy's"),
        pytest.param(
            "{name: b, port: 81, mesh_port: 15001}", "services[1].mesh_port: 15001 is", id="its too"
        ),
    ],
)
def test_refuses_what_two_cannot_have(second: str, words: str) -> None:
    with pytest.raises(BadInput) as refusal:
        parse(f"services:\n  - {{name: a, port: 80}}\n  - {second}\n")
    assert str(refusal.value).startswith("cannot use agent.yaml:3: ")
    assert words in str(refusal.value)
