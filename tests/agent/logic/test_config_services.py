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


@pytest.mark.parametrize(
    ("services", "words"),
    [
        pytest.param(
            [f"{{name: a, port: {port}}}" for port in range(1000, 1065)],
            "services: a is there 65 times, at most 64 ports",
            id="a service on too many ports",
        ),
        pytest.param(
            [f"{{name: a{port}, port: {port}}}" for port in range(1000, 1257)],
            "services: at most 256",
            id="too many services",
        ),
    ],
)
def test_refuses_more_than_a_control_plane_takes(services: list[str], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse("services:\n" + "".join(f"  - {one}\n" for one in services))
    assert words in str(caught.value)
    parse("services:\n" + "".join(f"  - {one}\n" for one in services[:64]))


@pytest.mark.parametrize(
    ("services", "problems"),
    [
        pytest.param(
            ["{name: a, port: x}", "{name: b, port: y}"],
            ["services[0].port: expected an integer", "services[1].port: expected an integer"],
            id="two ports that are no numbers are not one port",
        ),
        pytest.param(
            ["{name: a}", "{name: a}"],
            ['services[0]: key "port" is required', 'services[1]: key "port" is required'],
            id="nor are two that are missing",
        ),
        pytest.param(
            ["{name: a, port: 80, mesh_port: x}", "{name: b, port: 80, mesh_port: y}"],
            ["services[0].mesh_port: expected", "services[1].mesh_port: expected"],
            id="an app behind two unread ports",
        ),
        pytest.param(
            ["{name: A, port: 80, mesh_port: 81}", "{name: A, port: 80, mesh_port: 82}"],
            ["services[0].name: 'A' is no DNS name", "services[1].name: 'A' is no DNS name"],
            id="two names that are none",
        ),
        pytest.param(
            ['{name: a, port: x, listen: "127.0.0.1:80", mesh_port: 1}'],
            ["services[0].port: expected an integer"],
            id="nothing is compared with a port that is not read",
        ),
    ],
)
def test_what_is_not_read_clashes_with_nothing(services: list[str], problems: list[str]) -> None:
    with pytest.raises(BadInput) as refusal:
        parse("services:\n" + "".join(f"  - {service}\n" for service in services))
    lines = str(refusal.value).splitlines()
    assert len(lines) == len(problems), lines
    assert all(problem in line for problem, line in zip(problems, lines, strict=True)), lines
