import re
from pathlib import Path

import pytest

from hostmesh_agent.config import ServiceConfig
from hostmesh_agent.logic import differences
from hostmesh_core.model import InboundMode, Protocol

PAGE = Path(__file__).parents[3] / "docs" / "join.md"


def titles(service: ServiceConfig) -> list[str]:
    return [each.title for each in differences.of(service)]


def service(protocol: Protocol | None = Protocol.HTTP, **changes: object) -> ServiceConfig:
    return ServiceConfig(name="web", port=8080, protocol=protocol, **changes)  # type: ignore[arg-type]


def test_the_page_says_every_one_of_them() -> None:
    page = re.sub(r"\s+", " ", PAGE.read_text())
    every = {*differences.HTTP, *differences.TCP, differences.REFUSED}
    said = {each: f"**{each.title}**: {each.text}" in page for each in every}
    assert [each.title for each, there in said.items() if not there] == []


@pytest.mark.parametrize(
    ("protocol", "has", "has_not"),
    [
        pytest.param(Protocol.HTTP, "header lines", "server speaks first", id="http"),
        pytest.param(Protocol.GRPC, "limits", "header lines", id="gRPC has no lines"),
        pytest.param(Protocol.TCP, "server speaks first", "limits", id="tcp"),
        pytest.param(Protocol.HTTPS, "source address", "limits", id="TLS of the app passes as tcp"),
        pytest.param(None, "server speaks first", "limits", id="not stated is tcp"),
    ],
)
def test_each_protocol_has_its_own(protocol: Protocol | None, has: str, has_not: str) -> None:
    found = titles(service(protocol))
    assert has in found
    assert has_not not in found


def test_with_a_mesh_port_they_reach_the_app_itself() -> None:
    assert titles(service(Protocol.TCP, mesh_port=18080, inbound=InboundMode.STRICT)) == []


def test_with_strict_they_are_refused_and_nothing_else_matters() -> None:
    assert titles(service(inbound=InboundMode.STRICT)) == ["inbound: strict"]


def test_a_server_that_is_declared_to_speak_first_delays_nobody() -> None:
    found = titles(service(Protocol.TCP, server_first=True, inbound=InboundMode.DISABLE))
    assert found == ["source address", "errors"]


def test_a_screen_names_each_title_once() -> None:
    said = differences.summary([service(Protocol.TCP), service(Protocol.TCP)])
    assert said == "source address, server speaks first, sent and ended at once, errors"
    assert differences.summary([]) == ""
