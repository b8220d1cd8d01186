from dataclasses import replace

import pytest

from hostmesh_agent.config import (
    Address,
    AgentConfig,
    CaptureConfig,
    EnvoyConfig,
    HealthCheck,
    PortsConfig,
    ServiceConfig,
)
from hostmesh_agent.logic import reload
from hostmesh_core.model import InboundMode, Protocol, labels_of

WEB = ServiceConfig(name="web", port=8080, service_port=80, protocol=Protocol.HTTP)
MOVED = replace(WEB, port=9090)
API = ServiceConfig(name="api", port=7070)


def names(services: tuple[ServiceConfig, ...]) -> list[str]:
    return [f"{service.name}:{service.endpoint_port}" for service in services]


@pytest.mark.parametrize(
    ("before", "after", "first", "drained", "last", "said"),
    [
        pytest.param((WEB,), (WEB,), ["web:8080"], [], ["web:8080"], [], id="nothing"),
        pytest.param(
            (WEB,),
            (WEB, API),
            ["web:8080", "api:7070"],
            [],
            ["web:8080", "api:7070"],
            ["api: added on port 7070"],
            id="one comes",
        ),
        pytest.param(
            (WEB, API),
            (WEB,),
            ["web:8080", "api:7070"],
            ["api:7070"],
            ["web:8080"],
            ["api: removed from port 7070"],
            id="one goes",
        ),
        pytest.param(
            (WEB,),
            (MOVED,),
            ["web:9090", "web:8080"],
            ["web:8080"],
            ["web:9090"],
            ["web: port 8080 -> 9090"],
            id="a port moves: both stand, then the new one",
        ),
        pytest.param(
            (WEB,),
            (replace(WEB, labels=labels_of({"version": "v2"}), weight=3),),
            ["web:8080"],
            [],
            ["web:8080"],
            ["web: labels, weight"],
            id="what changes in its place",
        ),
        pytest.param(
            (WEB,),
            (replace(WEB, name="shop"),),
            ["web:8080"],
            ["web:8080"],
            ["shop:8080"],
            ["shop: added on port 8080", "web: removed from port 8080"],
            id="another service takes the port: when the first has drained",
        ),
        pytest.param(
            (WEB,),
            (replace(WEB, inbound=InboundMode.DISABLE),),
            ["web:8080"],
            ["web:8080"],
            ["web:8080"],
            ["web: inbound; out of the mesh for a moment"],
            id="inbound: disable takes it out, in order",
        ),
        pytest.param(
            (replace(WEB, mesh_port=18080),),
            (replace(WEB, mesh_port=18081),),
            ["web:18080"],
            ["web:18080"],
            ["web:18081"],
            ["web: mesh_port; out of the mesh for a moment"],
            id="one declaration cannot have two mesh ports",
        ),
        pytest.param(
            (WEB, MOVED),
            (MOVED,),
            ["web:9090", "web:8080"],
            ["web:8080"],
            ["web:9090"],
            ["web: no longer on port 8080"],
            id="a move that was interrupted goes on",
        ),
        pytest.param(
            (WEB, MOVED),
            (WEB,),
            ["web:8080", "web:9090"],
            ["web:9090"],
            ["web:8080"],
            ["web: no longer on port 9090"],
            id="a move that is taken back",
        ),
    ],
)
def test_old_and_new_stand_together_and_then_the_new(
    before: tuple[ServiceConfig, ...],
    after: tuple[ServiceConfig, ...],
    first: list[str],
    drained: list[str],
    last: list[str],
    said: list[str],
) -> None:
    change = reload.between(before, after)
    settled = change.settle({service.key for service in (*before, *after)})
    assert names(change.first) == first
    assert names(settled.drained) == drained
    assert names(settled.last) == last
    assert settled.kept == ()
    assert list(change.sentences()) == said


def test_what_has_no_successor_yet_stays_as_it_is() -> None:
    settled = reload.between((WEB,), (MOVED,)).settle(frozenset())
    assert (settled.drained, settled.kept) == ((), (WEB,))
    assert names(settled.declared) == names(settled.last) == ["web:9090", "web:8080"]


def test_a_port_is_only_given_to_another_when_its_own_service_has_moved() -> None:
    shop = ServiceConfig(name="shop", port=8080)
    change = reload.between((WEB,), (MOVED, shop))
    assert names(change.first) == ["web:9090", "web:8080"]
    moved = change.settle({MOVED.key})
    assert names(moved.declared) == ["web:9090", "shop:8080"]
    stuck = change.settle(frozenset())
    assert names(stuck.last) == ["web:9090", "web:8080"], "shop waits for the port"


def test_of_several_successors_the_one_that_clients_dial_counts() -> None:
    other = replace(MOVED, port=9191, service_port=81)
    change = reload.between((WEB,), (other, MOVED))
    assert change.settle({other.key}).kept == (WEB,)
    assert change.settle({MOVED.key}).kept == ()


def test_a_successor_that_peers_are_never_sent_to_holds_nobody() -> None:
    change = reload.between((WEB,), (replace(MOVED, inbound=InboundMode.DISABLE),))
    assert change.settle(frozenset()).drained == (WEB,)


CONFIG = AgentConfig(control_planes=(Address(host="cp", port=15012),), services=(WEB,))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        pytest.param({"ports": PortsConfig(outbound=16001)}, "ports:", id="ports"),
        pytest.param(
            {"capture": CaptureConfig(enabled=False)}, "capture.enabled", id="explicit mode"
        ),
        pytest.param(
            {"envoy": EnvoyConfig(concurrency=4, log_level="info")},
            "envoy.concurrency, envoy.log_level",
            id="Envoy",
        ),
    ],
)
def test_what_cannot_change_is_named_with_what_to_do(
    changed: dict[str, object], words: str
) -> None:
    (said,) = reload.fixed(CONFIG, replace(CONFIG, **changed))  # type: ignore[arg-type]
    assert said.startswith("cannot ")
    assert words in said
    assert "run --all" in said


def test_everything_else_can() -> None:
    other = replace(
        CONFIG,
        control_planes=(Address(host="cp2", port=15012),),
        services=(replace(WEB, health=HealthCheck(interval_seconds=1)), API),
        capture=CaptureConfig(exclude_outbound_ports=(25,)),
    )
    assert reload.fixed(CONFIG, other) == ()
