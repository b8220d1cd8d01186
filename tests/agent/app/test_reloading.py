"""The command line's half of a reload: in which order the agent is asked and files are written."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from hostmesh_agent.app import reloading
from hostmesh_agent.app.reloading import Reloaded
from hostmesh_agent.edges import control
from hostmesh_agent.edges.control import Progress
from hostmesh_core.errors import BadInput, Refused
from hostmesh_testing.rooted_layout import RootedLayout, rooted_layout

TEXT = """\
control_planes: [cp1:15012]
capture: {enabled: false}
dns: 'off'
services: [{name: web, port: 8080, mesh_port: 18080}]
"""
Work = Callable[[str, RootedLayout, Progress], Reloaded]
STEPS = ("check", "declare", "prove", "drain", "prove", "end")


class FakeAgent:
    """Answers every step, and notes what lay in left.json when it was asked."""

    def __init__(self, layout: RootedLayout, **answers: Mapping[str, object]) -> None:
        self.layout = layout
        self.answers = answers
        self.asked: list[str] = []
        self.left: list[bool] = []
        self.refuses = ""

    def handlers(self) -> dict[str, control.Handler]:
        return {
            "running": self._running,
            **{f"reload-{step}": self._step(step) for step in STEPS},
        }

    async def _running(self, _: Mapping[str, object], __: Progress) -> object:
        return {"file": "/etc/hostmesh/agent.yaml", "text": TEXT, "services": ["web"]}

    def _step(self, step: str) -> control.Handler:
        async def answer(_: Mapping[str, object], progress: Progress) -> object:
            self.asked.append(step)
            self.left.append(Path(self.layout.left_file).exists())
            if step == self.refuses:
                raise BadInput(f"cannot {step}")
            progress(step)
            return dict(self.answers.get(step, {"ports": [8080], "complete": True}))

        return answer


@pytest.fixture
def layout() -> Iterator[RootedLayout]:
    with rooted_layout() as made:
        Path(made.control_dir).mkdir(parents=True)
        yield made


def _run(agent: FakeAgent, work: Callable[[], Reloaded]) -> Reloaded:
    async def main() -> Reloaded:
        async with control.serve(agent.layout.control_socket, agent.handlers()):
            return await asyncio.to_thread(work)

    return asyncio.run(main())


def _ignore(_: str) -> None:
    """Progress is for people."""


def _reload(layout: RootedLayout, text: str = TEXT) -> Callable[[], Reloaded]:
    file = Path(layout.root) / "agent.yaml"
    file.write_text(text)
    return lambda: reloading.reload(str(file), layout, _ignore)


def test_the_steps_come_in_order(layout: RootedLayout) -> None:
    agent = FakeAgent(layout)
    came = _run(agent, _reload(layout))
    assert tuple(agent.asked) == STEPS
    assert (came.whole, came.complete, came.left) == (True, True, ())


def test_a_file_that_is_wrong_is_not_even_told(layout: RootedLayout) -> None:
    agent = FakeAgent(layout)
    with pytest.raises(BadInput, match='did you mean "services"'):
        _run(agent, _reload(layout, TEXT.replace("services", "servces")))
    assert agent.asked == []


def test_what_leaves_is_remembered_before_anything_changes_and_after_it_may(
    layout: RootedLayout,
) -> None:
    agent = FakeAgent(layout)
    came = _run(agent, lambda: reloading.leave_service("web", layout, _ignore))
    assert came.left == ("web",)
    assert agent.left == [False, True, True, True, True, True]
    came = _run(agent, lambda: reloading.resume_service("web", layout, _ignore))
    assert came.left == ()
    assert not Path(layout.left_file).exists()


@pytest.mark.parametrize(
    ("work", "words"),
    [
        pytest.param(
            lambda layout: reloading.leave_service("wbe", layout, _ignore),
            "cannot find service 'wbe': this host's agent serves web",
            id="leave of what is not there",
        ),
        pytest.param(
            lambda layout: reloading.resume_service("wbe", layout, _ignore),
            "cannot find service 'wbe': this host's agent serves web",
            id="resume of what is not there",
        ),
    ],
)
def test_a_name_that_is_wrong_changes_nothing(
    layout: RootedLayout, work: Callable[[RootedLayout], Reloaded], words: str
) -> None:
    agent = FakeAgent(layout)
    with pytest.raises(BadInput, match=words):
        _run(agent, lambda: work(layout))
    assert agent.asked == []


@pytest.mark.parametrize("cut", STEPS)
@pytest.mark.parametrize(
    ("work", "left"),
    [
        pytest.param(reloading.leave_service, ("web",), id="leave"),
        pytest.param(reloading.resume_service, (), id="resume"),
    ],
)
def test_cut_short_at_any_step_and_run_again_it_comes_to_its_end(
    layout: RootedLayout, work: Work, left: tuple[str, ...], cut: str
) -> None:
    agent = FakeAgent(layout)
    if work is reloading.resume_service:
        _run(agent, lambda: reloading.leave_service("web", layout, _ignore))
    agent.refuses = cut
    for _ in range(2):
        with pytest.raises(BadInput, match=f"cannot {cut}"):
            _run(agent, lambda: work("web", layout, _ignore))
    agent.refuses = ""
    agent.asked.clear()
    came = _run(agent, lambda: work("web", layout, _ignore))
    assert tuple(agent.asked) == STEPS
    assert came.left == left


def test_what_the_agent_refuses_leaves_no_trace(layout: RootedLayout) -> None:
    agent = FakeAgent(layout)
    agent.refuses = "check"
    with pytest.raises(BadInput, match="cannot check"):
        _run(agent, lambda: reloading.leave_service("web", layout, _ignore))
    assert agent.asked == ["check"]
    assert not Path(layout.left_file).exists()


def test_what_is_not_in_force_is_told_and_is_no_success(layout: RootedLayout) -> None:
    agent = FakeAgent(
        layout,
        end={"refused": ["api refused"]},
        drain={"kept": ["web stays"], "complete": False, "ports": []},
    )
    value = _run(agent, _reload(layout)).as_value()
    assert value["whole"] is False
    assert (value["refused"], value["kept"]) == (["api refused"], ["web stays"])
    assert value["every_peer_applied"] is False


class NotedRules:
    """Notes what root's half is told of the ports."""

    told: ClassVar[list[tuple[set[int], ...]]] = []

    def __init__(self, *_: object) -> None:
        self.told.clear()

    def both(self, served: Collection[int]) -> None:
        self.told.append((set(served),))

    def new(self, served: Collection[int], *, kept: Collection[int]) -> None:
        self.told.append((set(served), set(kept)))


def test_the_port_of_what_is_kept_is_told_to_the_rules(
    layout: RootedLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "Rules", NotedRules)
    agent = FakeAgent(
        layout,
        declare={"ports": [8080]},
        drain={"kept": ["web stays"], "kept_ports": [8080], "ports": [9090]},
    )
    _run(agent, _reload(layout))
    assert NotedRules.told == [({8080},), ({9090}, {8080})]


def test_without_an_agent_it_says_what_to_start(layout: RootedLayout) -> None:
    with pytest.raises(control.ControlUnreachable, match="run --all"):
        reloading.reload("/etc/hostmesh/agent.yaml", layout, _ignore)


def test_two_at_a_time_are_one_too_many(layout: RootedLayout) -> None:
    agent = FakeAgent(layout)

    def twice() -> Reloaded:
        def second(_: str) -> None:
            with pytest.raises(Refused, match="another reload"):
                reloading.leave_service("web", layout, _ignore)

        return reloading.reload(str(Path(layout.root) / "agent.yaml"), layout, second)

    _reload(layout)
    assert _run(agent, twice).whole
