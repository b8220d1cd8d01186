import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hostmesh_agent.app import status
from hostmesh_agent.app.registrar import ServiceView
from hostmesh_agent.app.status import Parts, next_waiting, status_of
from hostmesh_agent.config import Address, AgentConfig, CaptureConfig, ServiceConfig
from hostmesh_agent.logic import screens
from hostmesh_agent.logic.callers import Caller, Counted, Window
from hostmesh_agent.logic.running import Running
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import Unreachable
from hostmesh_core.grant import Claim, Grant
from hostmesh_core.model import Protocol
from hostmesh_core.redirect_files import Outcome, Report

WEB = ServiceConfig(name="web", port=8080, protocol=Protocol.HTTP)
VIEW = ServiceView(
    config=WEB,
    address="10.0.0.1:8080",
    registered=True,
    healthy=True,
    reason="",
    problem="",
    choice="",
    verdict=pb.ServiceVerdict(
        accepted=True, host="web.default.mesh.internal", state="mixed", meshed=1, endpoints=2
    ),
)


COUNTED = Counted(
    since=time.time() - 3600,
    plaintext=20,
    mutual_tls=5,
    last_plaintext=1700000100.0,
    callers={"10.1.0.9": Caller(20, 1700000000.0, 1700000100.0)},
)
RECENT = Window(60.0, 14, 0, ("10.1.0.9",))


class FakeAdmin:
    """Envoy's admin, or nobody."""

    def __init__(self) -> None:
        self.away = False

    async def prometheus(self) -> bytes:
        if self.away:
            raise Unreachable("cannot reach Envoy's admin")
        return b"envoy_server_live 1\n"


def _parts(**changed: Any) -> Parts:
    """Give a host that is in the mesh; `service__attribute=value` changes one thing."""
    report = Report(
        outcome=Outcome.APPLIED,
        verified_at=time.time(),
        rules=12,
        routes=2,
        endpoints=3,
        names=4,
        pid=77,
    )
    made: dict[str, Any] = {
        "identity": SimpleNamespace(
            grant=Grant(claims=(Claim("default", "web", "web"),)),
            membership=SimpleNamespace(host_id="7f3a", trust_domain="mesh.internal"),
            hours_left=43.2,
            status=lambda: [],
        ),
        "host": SimpleNamespace(connected=True, control_plane="cp1:15012", lost=""),
        "relay": SimpleNamespace(
            has_generation=True, waits_for=(), generation_age=0.0, envoy_streams=1
        ),
        "envoy": SimpleNamespace(
            serving=True,
            epoch=0,
            pid=99,
            runner_problem="",
            phase=SimpleNamespace(value="running"),
            admin=FakeAdmin(),
        ),
        "capture": SimpleNamespace(report=report, problem="", ports=frozenset({8080})),
        "callers": SimpleNamespace(counted=lambda _: COUNTED, window=lambda _: RECENT),
        "registrar": SimpleNamespace(views=lambda: [VIEW], unproven=[], notes=(), services=(WEB,)),
    }
    config = AgentConfig(
        control_planes=(Address(host="cp1", port=15012),),
        services=(WEB,),
        capture=CaptureConfig(enabled=changed.pop("capturing", True)),
    )
    for name, value in changed.items():
        part, _, attribute = name.partition("__")
        setattr(made[part], attribute, value)
    return Parts(running=Running(__file__, Path(__file__).read_text(), config), **made)


def _screen(parts: Parts) -> str:
    return screens.status(status_of(parts))


def test_a_host_in_the_mesh_waits_for_nothing_and_is_one_screen() -> None:
    parts = _parts()
    assert next_waiting(parts) == []
    screen = _screen(parts)
    assert len(screen.splitlines()) <= 24
    for words in (
        "7f3a as default/web",
        "cp1:15012 connected",
        "web.default.mesh.internal: mixed, 1 of 2 in the mesh",
        "callers in 60 s: 14 without mesh (10.1.0.9), 0 by mTLS",
        "epoch 0, pid 99, serving",
        "applied: 12 rules, 2 routes, 3 endpoint addresses, 4 names",
        "43.2 h in hand",
        "hostmesh-agent leave",
        "hostmesh service show web",
    ):
        assert words in screen, screen


@pytest.mark.parametrize(
    ("changed", "waiting"),
    [
        pytest.param(
            {
                "relay__has_generation": False,
                "host__lost": "cannot stay with cp1: refused",
                "envoy__serving": False,
            },
            ["a first configuration from a control plane (cannot stay with cp1: refused)"],
            id="the first thing that is lacking is named, not all that follows from it",
        ),
        pytest.param(
            {"relay__has_generation": False, "relay__waits_for": ("CDS", "a", "b", "c")},
            ["a first configuration from a control plane (CDS, a, b)"],
            id="a generation that is not whole yet",
        ),
        pytest.param(
            {"envoy__serving": False, "envoy__runner_problem": "cannot reach the runner"},
            ["Envoy (cannot reach the runner)"],
            id="no runner",
        ),
        pytest.param(
            {"capture__report": None},
            ["the kernel rules (not watched: no redirector has reported)"],
            id="no redirector",
        ),
        pytest.param(
            {"capture__report": Report(outcome=Outcome.WAITING, detail="Envoy is not ready")},
            [
                "the kernel rules (waiting: 0 rules, 0 routes, 0 endpoint addresses, 0 names; "
                "Envoy is not ready)"
            ],
            id="rules that wait",
        ),
        pytest.param(
            {"registrar__unproven": ["web: 503"]}, ["web: 503"], id="a service without its proof"
        ),
        pytest.param(
            {"capture__report": None, "capturing": False}, [], id="explicit mode needs no rules"
        ),
    ],
)
def test_what_is_waited_for(changed: dict[str, Any], waiting: list[str]) -> None:
    parts = _parts(**changed)
    assert next_waiting(parts) == waiting
    assert all(text in _screen(parts) for text in waiting)


def _certificate(why: str) -> Any:
    return [
        SimpleNamespace(
            identity=None,
            phase=SimpleNamespace(value="valid"),
            serial="1",
            not_after=0.0,
            seconds_left=60.0,
            why=why,
        )
    ]


@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        pytest.param(
            {"capture__report": Report(outcome=Outcome.APPLIED, verified_at=1.0, pid=77)},
            "capture is not watched: the redirector is away; the rules stay",
            id="a redirector that has not looked for a while",
        ),
        pytest.param(
            {
                "capture__report": Report(
                    outcome=Outcome.APPLIED, verified_at=time.time() + 600, pid=0
                )
            },
            "capture is not watched: the redirector is away; the rules stay",
            id="rules that a one-shot command applied",
        ),
        pytest.param(
            {"identity__grant": Grant(claims=(Claim("default", "a"), Claim("default", "b")))},
            "processes here have no identity towards the mesh",
            id="a grant of several identities",
        ),
        pytest.param(
            {"capture__ports": frozenset({22})},
            "web: no rule leads port 8080 into Envoy; when the control plane accepts the service: "
            "hostmesh-agent reload",
            id="an edited agent.yaml that only the agent has read",
        ),
        pytest.param(
            {"capture__ports": frozenset({8080, 9090})},
            "port 9090 is led into Envoy and no service has it: hostmesh-agent reload",
            id="an old port whose rules a killed reload has left",
        ),
        pytest.param(
            {"registrar__services": ()},
            "a change of agent.yaml has not ended: run hostmesh-agent reload again",
            id="a reload that was interrupted",
        ),
        pytest.param(
            {"identity__status": lambda: _certificate("refused: revoked")},
            "host: refused: revoked",
            id="a certificate that is not renewed",
        ),
        pytest.param(
            {"registrar__notes": ("upstream 127.0.0.1:9080: no such service",)},
            "upstream 127.0.0.1:9080: no such service",
            id="an upstream that leads nowhere",
        ),
    ],
)
def test_what_is_warned_of(changed: dict[str, Any], warning: str) -> None:
    parts = _parts(**changed)
    warnings = status_of(parts)["warnings"]
    assert isinstance(warnings, list)
    assert any(warning in text for text in warnings), warnings
    assert warning in _screen(parts)
    assert next_waiting(parts) == [], "a warning is no reason to wait"


@pytest.mark.parametrize(
    ("age", "said"),
    [
        pytest.param(None, "none yet", id="nothing stored"),
        pytest.param(0.0, "current, 1 Envoy(s) connected", id="the control plane is there"),
        pytest.param(61.0, "confirmed 61 s ago by a control plane that is away", id="it is away"),
    ],
)
def test_how_old_the_configuration_is(age: float | None, said: str) -> None:
    assert said in str(status_of(_parts(relay__generation_age=age))["generation"])


@pytest.mark.parametrize("away", [False, True], ids=["with Envoy's", "without an Envoy"])
def test_figures(*, away: bool) -> None:
    parts = _parts(registrar__unproven=["web: 503"])
    parts.envoy.admin.away = away  # type: ignore[attr-defined]
    text = asyncio.run(status.metrics(parts))
    assert "hostmesh_agent_ready 0\n" in text
    assert "hostmesh_agent_connected 1\n" in text
    assert "hostmesh_agent_certificate_hours_left 43.200\n" in text
    assert ("envoy_server_live 1" in text) is not away


def _service_of(parts: Parts) -> Any:
    services: Any = status_of(parts)["services"]
    return services[0]


def test_callers_are_given_to_machines_whole() -> None:
    service = _service_of(_parts())
    callers = service["callers"]
    assert callers["since"] == COUNTED.since
    assert callers["seconds"] >= 3600
    assert callers["plaintext"] == 20
    assert callers["mutual_tls"] == 5
    assert callers["addresses"] == [
        {
            "address": "10.1.0.9",
            "requests": 20,
            "first_seen": 1700000000.0,
            "last_seen": 1700000100.0,
        }
    ]
    assert callers["recent"] == {
        "seconds": 60.0,
        "plaintext": 14,
        "mutual_tls": 0,
        "addresses": ("10.1.0.9",),
    }


def test_what_is_not_counted_yet_is_not_said_to_be_nobody() -> None:
    parts = _parts(callers__counted=lambda _: None, callers__window=lambda _: None)
    service = _service_of(parts)
    assert service["callers"] is None
    assert "callers in" not in _screen(parts)
