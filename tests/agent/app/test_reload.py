"""The agent's half of a reload: what is said to the control plane, and in which order."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from hostmesh_agent.app import reload as module
from hostmesh_agent.app.reload import Reload
from hostmesh_agent.config import ServiceConfig
from hostmesh_agent.logic import running
from hostmesh_agent.logic.running import Running
from hostmesh_core import names
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput, HostmeshError, Refused, Unreachable
from hostmesh_core.host_layout import HostLayout
from hostmesh_testing.hosts import until
from hostmesh_testing.registrar_play import Play

FILE = "/etc/hostmesh/agent.yaml"
TEXT = """\
control_planes: [cp1:15012]
services: [{{name: web, port: {port}, service_port: 80, protocol: http}}]
"""
OLD, NEW = TEXT.format(port=8080), TEXT.format(port=9090)
ANOTHER = OLD.replace("name: web", "name: api")
"""Takes the port over: it is declared only when the old one has drained."""


class FakeAgent:
    """An agent around a registrar that a test holds; Envoy serves the ports in `served`.

    Its admin gives no answer as often as `unanswered` says.
    """

    def __init__(self) -> None:
        self.running = running.read(OLD, file=FILE)
        self.play = Play(*self.running.config.services)
        self.registrar = self.play.registrar
        self.identity = self.play.identity
        self.host = SimpleNamespace(connected=True, lost="", drain=self._drain)
        admin = SimpleNamespace(config_dump=self._dump)
        self.envoy = SimpleNamespace(admin=admin, serving=True)
        self.served = {8080, 9090}
        self.unanswered = self.asked = 0
        self.refused: dict[int, str] = {}
        self.drained: list[list[str]] = []
        self.progress: list[str] = []
        self.untold: set[int] = set()
        """Ports that the control plane has not told other hosts of, whatever is registered."""
        self.play.link.registered = self.judged
        self.reload = Reload(self, HostLayout()).handlers()  # type: ignore[arg-type]

    def configure(self, target: Running, declared: tuple[ServiceConfig, ...]) -> None:
        self.running = target
        self.registrar.configure(target.config, declared)

    def want_certificates(self, target: Running, declared: Iterable[ServiceConfig]) -> None:
        """Both services have one identity, and its certificate is there."""

    def judged(self) -> None:
        """Let the control plane answer to what is declared and registered."""
        register = self.play.link.registers[-1]
        verdict = pb.Verdict(generation=register.generation)
        for service in register.services:
            port = service.workload_port
            reason = self.refused.get(port, "")
            verdict.services.add(
                service=service.service,
                port=service.port,
                workload_port=port,
                accepted=not reason,
                reason=reason,
                registered=not (service.declared_only or reason or port in self.untold),
                host="web.default.mesh.internal",
                addresses=[f"203.0.113.9:{port}"],
            )
        self.registrar.verdict(verdict)

    async def call(self, verb: str, **args: object) -> Mapping[str, Any]:
        answer = await self.reload[verb](args, self.progress.append)
        assert isinstance(answer, dict)
        return answer

    @property
    def said(self) -> list[list[str]]:
        """Give every Register as `port` or `(port)` where it is only declared."""
        return [
            [
                f"({s.workload_port})" if s.declared_only else str(s.workload_port)
                for s in register.services
            ]
            for register in self.play.link.registers
        ]

    async def _drain(self, services: Iterable[str]) -> bool:
        self.drained.append(list(services))
        return True

    async def _dump(self, **_: str) -> bytes:
        self.asked += 1
        if self.unanswered > 0:
            self.unanswered -= 1
            raise Unreachable("cannot reach Envoy's admin: no answer within 5 s")
        chains = [{"name": names.inbound_chain(port, "mtls")} for port in self.served]
        return json.dumps({"configs": [{"active_state": {"filter_chains": chains}}]}).encode()


def _play(scene: Callable[[FakeAgent], Awaitable[None]]) -> FakeAgent:
    made: list[FakeAgent] = []

    async def main() -> None:
        agent = FakeAgent()
        made.append(agent)
        async with agent.play.running():
            agent.play.everything_but("verdict")
            await until(lambda: "registered" in agent.play.said)
            await scene(agent)

    asyncio.run(main())
    return made[0]


def test_a_port_moves_new_before_old() -> None:
    async def scene(agent: FakeAgent) -> None:
        told = await agent.call("reload-declare", file=FILE, text=NEW, left=[])
        assert told["changes"] == ["web: port 8080 -> 9090"]
        assert told["ports"] == [8080, 9090]
        await agent.call("reload-prove")
        drained = await agent.call("reload-drain")
        assert (drained["complete"], drained["kept"], drained["ports"]) == (True, [], [9090])
        await agent.call("reload-end")

    agent = _play(scene)
    assert agent.drained == [["web:8080"]]
    order = [
        now for before, now in zip([[], *agent.said], agent.said, strict=False) if now != before
    ]
    assert order == [["(8080)"], ["8080"], ["(9090)", "8080"], ["9090", "8080"], ["9090"]]
    assert [s.port for s in agent.running.config.services] == [9090]


def test_what_is_deregistered_stays_served_for_what_is_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LATE_SECONDS", 0.2)

    async def scene(agent: FakeAgent) -> None:
        await agent.call("reload-declare", file=FILE, text=NEW, left=[])
        await agent.call("reload-prove")
        clock = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as tasks:
            drains = tasks.create_task(agent.call("reload-drain"))
            await until(lambda: bool(agent.drained))
            since = clock()
            await drains
        waited.append(clock() - since)
        assert agent.said[-1] == ["9090", "8080"]
        await agent.call("reload-end")
        await until(lambda: agent.said[-1] == ["9090"])

    waited: list[float] = []
    _play(scene)
    assert waited[0] >= 0.15


def test_a_port_moves_only_when_other_hosts_were_told_of_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PROVE_SECONDS", 0.2)
    waits = "web:9090 is not registered yet: waiting until other hosts are told of it"

    async def scene(agent: FakeAgent) -> None:
        agent.untold = {9090}
        await agent.call("reload-declare", file=FILE, text=NEW, left=[])
        proven = await agent.call("reload-prove")
        assert (proven["unproven"], agent.progress[1:]) == ([waits], [waits])
        drained = await agent.call("reload-drain")
        assert drained["kept"] == [
            "web stays on port 8080: what is to take its place is not registered"
        ]
        assert agent.drained == []

    agent = _play(scene)
    assert agent.said[-1] == ["9090", "8080"], "it was proven, and the old one stands beside it"


def test_a_port_that_envoy_does_not_serve_yet_is_not_led_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)

    async def scene(agent: FakeAgent) -> None:
        agent.served = {8080}
        told = await agent.call("reload-declare", file=FILE, text=NEW, left=[])
        assert told["ports"] == [8080]

    _play(scene)


def test_an_envoy_that_serves_is_asked_again_where_it_did_not_answer() -> None:
    async def scene(agent: FakeAgent) -> None:
        agent.unanswered = 2
        told = await agent.call("reload-declare", file=FILE, text=NEW, left=[])
        assert told["ports"] == [8080, 9090]

    _play(scene)


def test_nobody_waits_for_an_envoy_that_does_not_serve() -> None:
    async def scene(agent: FakeAgent) -> None:
        agent.unanswered, agent.envoy.serving = 1000, False
        told = await agent.call("reload-declare", file=FILE, text=NEW, left=[])
        assert (told["ports"], agent.asked) == ([], 1)

    _play(scene)


def test_what_stays_because_its_successor_is_not_registered_is_named_by_its_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever Envoy says: its rule stays, for peers are sent there."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(module, "PROVE_SECONDS", 0.2)

    async def scene(agent: FakeAgent) -> None:
        agent.unanswered = 1000
        agent.play.app.not_proven = "cannot prove web: answered without TLS"
        told = await agent.call("reload-declare", file=FILE, text=NEW, left=[])
        assert told["ports"] == []
        await agent.call("reload-prove")
        assert (await agent.call("reload-drain"))["kept_ports"] == [8080]
        assert "8080" in agent.said[-1]

    assert _play(scene).drained == []


@pytest.mark.parametrize("serving", [True, False])
def test_what_envoy_served_as_the_reload_began_stands_where_it_says_nothing_later(
    monkeypatch: pytest.MonkeyPatch,
    serving: bool,  # noqa: FBT001
) -> None:
    async def scene(agent: FakeAgent) -> None:
        told = await agent.call("reload-declare", file=FILE, text=ANOTHER, left=[])
        assert told["ports"] == [8080]
        monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
        agent.unanswered, agent.envoy.serving = 1000, serving
        assert (await agent.call("reload-drain"))["ports"] == [8080]
        assert agent.asked > 1

    _play(scene)


def test_what_an_earlier_reload_saw_says_nothing_about_this_one() -> None:
    async def scene(agent: FakeAgent) -> None:
        await agent.call("reload-declare", file=FILE, text=NEW, left=[])
        agent.unanswered, agent.envoy.serving = 1000, False
        told = await agent.call("reload-declare", file=FILE, text=NEW, left=[])
        assert told["ports"] == []

    _play(scene)


def test_a_refused_service_is_named_and_the_old_one_stays() -> None:
    async def scene(agent: FakeAgent) -> None:
        agent.refused[9090] = "web:80 refused: the grant covers nothing"
        told = await agent.call("reload-declare", file=FILE, text=NEW, left=[])
        assert told["refused"] == ["web:80 refused: the grant covers nothing"]
        await agent.call("reload-prove")
        drained = await agent.call("reload-drain")
        assert drained["kept"] == [
            "web stays on port 8080: what is to take its place is not registered"
        ]
        await agent.call("reload-end")
        assert [s.port for s in agent.registrar.services] == [9090, 8080]

    assert _play(scene).drained == []


def test_what_leaves_is_drained_and_remembered() -> None:
    async def scene(agent: FakeAgent) -> None:
        runs = await agent.call("running")
        assert runs == {"file": FILE, "text": OLD, "services": ["web"]}
        await agent.call("reload-declare", file=FILE, text=OLD, left=["web"])
        await agent.call("reload-drain")
        assert (await agent.call("reload-end"))["left"] == ["web"]
        assert agent.registrar.services == ()
        assert (await agent.call("running"))["services"] == ["web"]

    assert _play(scene).drained == [["web:8080"]]


@pytest.mark.parametrize(
    ("prepare", "call", "error", "words"),
    [
        pytest.param(lambda _: None, {"file": "/other"}, BadInput, "runs with", id="another file"),
        pytest.param(
            lambda _: None, {"text": "{"}, BadInput, "cannot use", id="a file that is none"
        ),
        pytest.param(
            lambda _: None,
            {"text": OLD + "envoy: {concurrency: 4}\n"},
            BadInput,
            "envoy.concurrency",
            id="what cannot change",
        ),
        pytest.param(
            lambda agent: setattr(agent.host, "connected", False),
            {},
            Refused,
            "nothing has changed",
            id="no control plane",
        ),
        pytest.param(
            lambda agent: agent.registrar.leaving(), {}, Refused, "drain", id="a drained host"
        ),
    ],
)
def test_what_is_refused_changes_nothing(
    prepare: Callable[[FakeAgent], None],
    call: dict[str, str],
    error: type[HostmeshError],
    words: str,
) -> None:
    async def scene(agent: FakeAgent) -> None:
        prepare(agent)
        said = len(agent.said)
        for verb in ("reload-check", "reload-declare"):
            with pytest.raises(error, match=words):
                await agent.call(verb, **{"file": FILE, "text": NEW, "left": []} | call)
        assert len(agent.said) == said
        assert agent.running.text == OLD

    _play(scene)


def test_a_step_out_of_turn_is_refused() -> None:
    async def scene(agent: FakeAgent) -> None:
        for verb in ("reload-prove", "reload-drain", "reload-end"):
            with pytest.raises(Refused, match="no reload is under way"):
                await agent.call(verb)
        await agent.call("reload-declare", file=FILE, text=NEW, left=[])
        with pytest.raises(Refused, match="has not drained"):
            await agent.call("reload-end")

    _play(scene)


def test_a_newer_reload_ends_what_an_older_one_waits_for() -> None:
    async def scene(agent: FakeAgent) -> None:
        agent.play.app.not_proven = "cannot prove web: nothing listens"
        await agent.call("reload-declare", file=FILE, text=NEW, left=[])
        async with asyncio.TaskGroup() as tasks:
            waits = tasks.create_task(_refusal_of(agent.call("reload-prove")))
            await until(lambda: any("nothing listens" in line for line in agent.progress))
            await agent.call("reload-declare", file=FILE, text=OLD, left=[])
        assert "another reload has begun" in waits.result()

    _play(scene)


async def _refusal_of(call: Awaitable[object]) -> str:
    with pytest.raises(Refused) as refused:
        await call
    return str(refused.value)
