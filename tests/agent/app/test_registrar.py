import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hostmesh_agent.app import registrar
from hostmesh_agent.config import ServiceConfig
from hostmesh_agent.edges import interfaces
from hostmesh_agent.logic import registration
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.capture_plan import PROOF_PORTS
from hostmesh_core.model import InboundMode, Protocol
from hostmesh_testing.hosts import until
from hostmesh_testing.registrar_play import SERVICE, Play


def _run(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    asyncio.run(main())


def test_it_declares_first_and_registers_only_what_is_proven() -> None:
    async def scene() -> None:
        play = Play()
        async with play.running():
            assert play.said == ["declared"]
            assert play.view.problem
            play.everything_but()
            await until(lambda: "registered" in play.said)
            assert play.said[-1] == "registered"
            assert play.link.registers[-1].services[0].health == pb.STATUS_HEALTHY
            assert (play.view.registered, play.view.problem) == (True, "")
            assert play.registrar.unproven == []

    _run(scene)


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        pytest.param("certificate", "waiting for the certificate of default/web", id="certificate"),
        pytest.param("verdict", "waiting for the control plane's word", id="verdict"),
        pytest.param("envoy", "waiting: Envoy does not serve yet", id="Envoy"),
        pytest.param("rules", "waiting: the rules are not in yet", id="the rules"),
    ],
)
def test_nothing_is_dialled_while_one_thing_is_lacking(lacking: str, why: str) -> None:
    async def scene() -> None:
        play = Play()
        async with play.running():
            play.everything_but(lacking)
            await play.turns()
            assert play.app.proofs == []
            assert "registered" not in play.said
            assert play.registrar.unproven == [f"web: {why}"]
            play.everything_but()
            await until(lambda: "registered" in play.said)

    _run(scene)


def test_a_refused_service_is_never_dialled_and_says_the_control_plane_s_words() -> None:
    async def scene() -> None:
        play = Play()
        async with play.running():
            play.everything_but("verdict")
            play.refused("web refused: the grant covers nothing")
            await play.turns()
            assert play.app.proofs == []
            assert play.registrar.unproven == ["web: web refused: the grant covers nothing"]

    _run(scene)


def test_the_port_of_a_refused_service_is_named_until_it_is_accepted() -> None:
    async def scene() -> None:
        play = Play()
        async with play.running():
            assert play.registrar.refused_ports == frozenset()
            play.refused("web refused: the grant covers nothing")
            assert play.registrar.refused_ports == {8080}
            play.accepted()
            assert play.registrar.refused_ports == frozenset()

    _run(scene)


def test_a_registered_service_whose_grant_goes_says_so() -> None:
    async def scene() -> None:
        play = Play()
        async with play.running():
            play.everything_but()
            await until(lambda: "registered" in play.said)
            play.refused("web refused: the grant covers nothing")
            assert not play.view.registered
            assert play.view.problem == "web refused: the grant covers nothing"
            play.accepted()
            assert play.view.registered

    _run(scene)


def test_a_proof_that_fails_is_tried_again_until_it_reaches_the_app() -> None:
    async def scene() -> None:
        play = Play()
        play.app.not_proven = "cannot prove web: 503"
        async with play.running():
            play.everything_but()
            await until(lambda: play.app.proofs)
            await play.turns()
            assert play.registrar.unproven == ["web: cannot prove web: 503"]
            tried = len(play.app.proofs)
            await until(lambda: len(play.app.proofs) > tried)  # by its own clock
            assert "registered" not in play.said
            play.app.not_proven = ""
            await until(lambda: "registered" in play.said)

    _run(scene)


def test_a_proof_that_answers_after_the_rules_are_gone_registers_nothing() -> None:
    async def scene() -> None:
        play = Play()
        play.app.gate = asyncio.Event()
        async with play.running():
            play.everything_but()
            await until(lambda: play.app.proofs)
            play.registrar.capture(applied=False, why="somebody flushed nat")
            play.app.gate.set()
            await play.turns()
            assert "registered" not in play.said
            play.registrar.capture(applied=True, why="")
            await until(lambda: "registered" in play.said)

    _run(scene)


@pytest.mark.parametrize(
    ("lose", "word"),
    [
        pytest.param(
            lambda play: play.registrar.envoy(serving=False, why="Envoy crashed"),
            "STATUS_NOT_CAPTURED Envoy crashed",
            id="Envoy",
        ),
        pytest.param(
            lambda play: play.registrar.capture(applied=False, why="the rules are gone"),
            "STATUS_NOT_CAPTURED the rules are gone",
            id="the rules",
        ),
    ],
)
def test_what_is_lost_is_reported_at_once_and_its_return_as_well(
    lose: Callable[[Play], None], word: str
) -> None:
    async def scene() -> None:
        play = Play()
        async with play.running():
            play.everything_but()
            await until(lambda: "registered" in play.said)
            lose(play)
            assert play.said[-1] == word, "at once, in the very call"
            lose(play)
            assert play.said.count(word) == 1
            play.everything_but()
            assert play.said[-1].startswith("STATUS_HEALTHY")

    _run(scene)


def test_an_address_that_goes_is_told_and_the_streams_are_opened_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = ["10.0.0.4", "fd00::4"]
    monkeypatch.setattr(registrar, "ADDRESSES_SECONDS", 0.01)
    monkeypatch.setattr(interfaces, "own_addresses", lambda: tuple(own))

    async def scene() -> None:
        play = Play()
        async with play.running():
            assert list(play.link.registers[-1].host_addresses) == own
            own[0] = "10.0.0.9"
            await until(lambda: "gone 10.0.0.4" in play.said)
            await until(lambda: list(play.link.registers[-1].host_addresses) == own)
            own.append("10.9.0.4")
            await until(lambda: list(play.link.registers[-1].host_addresses) == own)
            assert sum(text.startswith("gone") for text in play.said) == 1, "one more is no loss"

    _run(scene)


@pytest.mark.parametrize(
    ("registered", "dialled"),
    [
        pytest.param("10.0.0.4:8080", "10.0.0.4", id="its own"),
        pytest.param("203.0.113.9:8080", "10.0.0.4", id="behind NAT: its own all the same"),
        pytest.param("[2001:db8::9]:8080", "fd00::4", id="of the same family"),
    ],
)
def test_a_proof_dials_an_address_that_this_host_has(
    monkeypatch: pytest.MonkeyPatch, registered: str, dialled: str
) -> None:
    monkeypatch.setattr(interfaces, "own_addresses", lambda: ("10.0.0.4", "fd00::4"))

    async def scene() -> None:
        play = Play()
        async with play.running():
            play.everything_but("verdict")
            verdict = pb.ServiceVerdict(
                service="web", port=8080, accepted=True, addresses=[registered]
            )
            play.registrar.verdict(pb.Verdict(services=[verdict]))
            await until(lambda: play.app.proofs)
            assert play.app.proofs[0].address == dialled

    _run(scene)


def test_an_app_that_falls_ill_and_recovers_is_reported() -> None:
    async def scene() -> None:
        play = Play()
        async with play.running():
            play.everything_but()
            await until(lambda: "registered" in play.said)
            play.app.unwell = "connection refused"
            await until(lambda: "STATUS_UNHEALTHY connection refused" in play.said)
            assert (play.view.healthy, play.view.reason) == (False, "connection refused")
            play.app.unwell = ""
            await until(lambda: play.said[-1].startswith("STATUS_HEALTHY"))

    _run(scene)


def test_an_app_s_illness_before_its_registration_is_nobody_s_business() -> None:
    async def scene() -> None:
        play = Play()
        play.app.unwell = "connection refused"
        async with play.running():
            play.everything_but("verdict")
            await until(lambda: play.view.healthy is False)
            assert play.said == ["declared"]

    _run(scene)


def test_what_leaves_is_not_proven_again() -> None:
    async def scene() -> None:
        play = Play()
        async with play.running():
            play.everything_but()
            await until(lambda: "registered" in play.said)
            play.registrar.leaving()
            said, proofs = len(play.said), len(play.app.proofs)
            play.registrar.look_again()
            await play.turns()
            assert len(play.app.proofs) == proofs
            assert "registered" not in play.said[said:]
            assert not play.view.registered

    _run(scene)


def test_a_new_agent_trusts_what_it_may_still_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier agent registered is not taken out before this one has had time to look."""
    monkeypatch.setattr(registration, "SETTLE_SECONDS", 0.2)

    async def scene() -> None:
        play = Play()
        async with play.running():
            await play.turns()
            assert play.said == ["declared"]
            await until(lambda: len(play.said) > 1)
            assert play.said[1] == "STATUS_NOT_CAPTURED Envoy does not serve yet"

    _run(scene)


def test_a_service_that_no_peer_can_reach_by_mutual_tls_is_not_registered() -> None:
    async def scene() -> None:
        disabled = ServiceConfig(name="web", port=8080, inbound=InboundMode.DISABLE)
        play = Play(disabled)
        async with play.running():
            play.everything_but()
            await play.turns()
            assert play.app.proofs == []
            assert play.registrar.unproven == [], "that is wanted: nothing is waited for"
            assert "inbound: disable" in play.view.choice
            assert not play.view.registered

    _run(scene)


@pytest.mark.parametrize(
    ("service", "capture", "expected"),
    [
        pytest.param(SERVICE, True, (8080, True, "/", PROOF_PORTS), id="captured HTTP"),
        pytest.param(
            ServiceConfig(name="web", port=8080), True, (8080, False, "/", PROOF_PORTS), id="TCP"
        ),
        pytest.param(
            ServiceConfig(name="web", port=8080, mesh_port=18080, protocol=Protocol.GRPC),
            False,
            (18080, True, "/", None),
            id="explicit mode: Envoy's own port, from any source port",
        ),
    ],
)
def test_what_a_proof_dials(
    *,
    service: ServiceConfig,
    capture: bool,
    expected: tuple[int, bool, str, tuple[int, int] | None],
) -> None:
    async def scene() -> None:
        play = Play(service, capture=capture)
        async with play.running():
            play.everything_but("rules" if not capture else "")
            await until(lambda: play.app.proofs)
            target = play.app.proofs[0]
            assert (target.port, target.is_http, target.path, target.source_ports) == expected
            assert target.host == "web.default.mesh.internal"
            assert str(target.expected) == "spiffe://mesh.internal/ns/default/sa/web"

    _run(scene)
