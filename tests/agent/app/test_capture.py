"""The agent's hand on capture, with a redirector that is a few lines of this file."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hostmesh_agent.app.capture import CaptureService, compile_capture
from hostmesh_agent.config import Address, AgentConfig, ServiceConfig
from hostmesh_agent.edges.redirect_files import read_state
from hostmesh_agent.logic.redirect import Users
from hostmesh_core.capture_plan import CapturePlan
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.redirect_files import (
    EnvoyProcess,
    NameTable,
    Outcome,
    RedirectState,
    Report,
    Wanted,
)
from hostmesh_testing.rooted_layout import RootedLayout, rooted_layout

ENVOY = EnvoyProcess(epoch=0, pid=77, started=5, ready=True)
CONFIG = AgentConfig(
    control_planes=(Address(host="cp1", port=15012),),
    services=(ServiceConfig(name="web", port=8080),),
)


@pytest.fixture
def layout() -> Iterator[RootedLayout]:
    with rooted_layout() as made:
        Path(made.redirector_dir).mkdir(exist_ok=True)
        yield made


def _state(layout: HostLayout) -> RedirectState:
    state = read_state(layout.redirect_state_file)
    assert state is not None
    return state


def _answer(layout: HostLayout, outcome: Outcome, **changes: int) -> None:
    """Report on everything that was asked, as the redirector would."""
    names = Path(layout.names_file)
    table = NameTable.decode(names.read_bytes(), where="") if names.exists() else NameTable()
    report = Report(
        outcome=outcome,
        state_sequence=changes.get("state", _state(layout).sequence),
        names_sequence=changes.get("names", table.sequence),
    )
    Path(layout.redirector_report_file).write_bytes(report.encode())


def test_compile_writes_what_root_says(layout: RootedLayout) -> None:
    compile_capture(CONFIG, layout, Users(proxy_uid=7, proxy_gid=8, agent_uid=9))
    path = Path(layout.capture_file)
    plan = CapturePlan.decode(path.read_bytes(), where="capture.json")
    assert (plan.proxy_uid, plan.inbound[0].port) == (7, 8080)
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_is_wanted_is_written_once(layout: RootedLayout) -> None:
    capture = CaptureService(layout)
    assert not Path(layout.redirect_state_file).exists()
    capture.set_envoy(ENVOY)
    capture.set_wanted(Wanted.CAPTURED)
    capture.set_addresses(frozenset({("10.0.0.5", 80)}))
    written = _state(layout)
    assert written == RedirectState(
        sequence=3, wanted=Wanted.CAPTURED, envoy=ENVOY, endpoints=frozenset({("10.0.0.5", 80)})
    )
    capture.set_envoy(ENVOY)
    capture.set_wanted(Wanted.CAPTURED)
    capture.set_addresses(frozenset({("10.0.0.5", 80)}))
    assert _state(layout) == written
    capture.set_envoy(replace(ENVOY, ready=False))
    assert _state(layout).sequence == 4


def test_names_are_written_when_they_change(layout: RootedLayout) -> None:
    capture = CaptureService(layout)
    for names in ({"a.b.mesh.internal": ("240.240.0.1", "")},) * 2 + ({},) * 2:
        capture.set_names(names)
    table = NameTable.decode(Path(layout.names_file).read_bytes(), where="")
    assert table == NameTable(sequence=2, names={})


def test_the_next_agent_leaves_in_force_what_the_last_one_asked_for(layout: RootedLayout) -> None:
    before = CaptureService(layout)
    before.set_envoy(ENVOY)
    before.set_wanted(Wanted.CAPTURED)
    asked = _state(layout)
    after = CaptureService(layout)
    assert _state(layout) == asked
    after.set_envoy(ENVOY)
    assert _state(layout) == asked
    after.set_addresses(frozenset({("10.0.0.5", 80)}))
    now = _state(layout)
    assert (now.wanted, now.envoy, now.sequence) == (Wanted.CAPTURED, ENVOY, asked.sequence + 1)


def test_reports_are_handed_on_when_they_change(layout: RootedLayout) -> None:
    seen: list[Outcome] = []
    capture = CaptureService(layout, lambda report: seen.append(report.outcome))
    capture.set_wanted(Wanted.CAPTURED)
    capture.poll()
    for outcome in (Outcome.WAITING, Outcome.WAITING, Outcome.APPLIED):
        _answer(layout, outcome)
        capture.poll()
    assert seen == [Outcome.WAITING, Outcome.APPLIED]
    assert capture.report is not None
    assert capture.report.outcome is Outcome.APPLIED


async def _wait(capture: CaptureService, verb: str) -> bool:
    waiting = capture.wait_applied if verb == "applied" else capture.wait_removed
    return await waiting(0.15)


@pytest.mark.parametrize(
    ("verb", "outcome", "stale", "comes"),
    [
        pytest.param("applied", Outcome.APPLIED, {}, True, id="applied"),
        pytest.param("applied", Outcome.WAITING, {}, False, id="still waiting for Envoy"),
        pytest.param("applied", Outcome.FAILED, {}, False, id="failed"),
        pytest.param("applied", Outcome.APPLIED, {"state": 0}, False, id="about an older wish"),
        pytest.param("applied", Outcome.APPLIED, {"names": 0}, False, id="without the new names"),
        pytest.param("removed", Outcome.REMOVED, {}, True, id="removed"),
        pytest.param("removed", Outcome.WAITING, {}, True, id="only closed directions are left"),
        pytest.param("removed", Outcome.APPLIED, {}, False, id="still in"),
        pytest.param("removed", Outcome.REMOVED, {"state": 0}, False, id="removed before"),
    ],
)
def test_waiting_ends_with_the_answer_to_the_last_wish(
    layout: RootedLayout,
    verb: str,
    outcome: Outcome,
    stale: dict[str, int],
    comes: bool,  # noqa: FBT001
) -> None:
    capture = CaptureService(layout)
    capture.set_wanted(Wanted.CAPTURED)
    capture.set_names({"a.b.mesh.internal": ("240.240.0.1", "")})
    _answer(layout, outcome, **stale)
    assert asyncio.run(_wait(capture, verb)) == comes


def test_an_answer_that_comes_while_waiting_ends_it(layout: RootedLayout) -> None:
    capture = CaptureService(layout)
    capture.set_wanted(Wanted.CAPTURED)

    async def both() -> bool:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(capture.wait_applied(5.0))
            await asyncio.sleep(0.05)
            _answer(layout, Outcome.APPLIED)
        return waiting.result()

    assert asyncio.run(both())


def test_a_damaged_state_is_replaced(layout: RootedLayout) -> None:
    Path(layout.redirect_state_file).write_text(json.dumps({"version": 1}))
    capture = CaptureService(layout)
    capture.set_wanted(Wanted.CAPTURED)
    assert _state(layout).wanted is Wanted.CAPTURED


def test_a_full_run_keeps_what_is_asked_for_until_it_can_be_written(layout: RootedLayout) -> None:
    """Nothing of this may end the agent: Envoy and the rules go on meanwhile."""
    capture = CaptureService(layout)
    capture.set_wanted(Wanted.CAPTURED)
    folder = Path(layout.capture_dir)
    folder.rename(folder.with_name("away"))
    capture.set_envoy(ENVOY)
    capture.set_names({"web.default.mesh.internal": ("240.240.0.1", "")})
    assert "cannot write" in capture.problem
    assert "the rules stay as they are" in capture.problem
    capture.poll()
    assert capture.problem
    folder.with_name("away").rename(folder)
    assert _state(layout).envoy is None
    capture.poll()
    assert capture.problem == ""
    assert _state(layout).envoy == ENVOY
    table = NameTable.decode(Path(layout.names_file).read_bytes(), where="")
    assert list(table.names) == ["web.default.mesh.internal"]
