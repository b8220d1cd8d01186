"""Who keeps an instance's processes running: told by real processes with our command lines."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hostmesh_agent.app import supervision
from hostmesh_agent.app.supervision import Kept
from hostmesh_agent.edges import folders
from hostmesh_testing.own_process import own_process
from hostmesh_testing.rooted_layout import RootedLayout

pytestmark = pytest.mark.process


@pytest.fixture
def layout(tmp_path: Path) -> RootedLayout:
    made = RootedLayout(instance=f"s{os.getpid()}", root=str(tmp_path))
    Path(folders.parent_dir(made)).mkdir(parents=True)
    return made


def _record(layout: RootedLayout, text: str) -> None:
    Path(folders.parent_dir(layout), "agent.json").write_text(text)


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        pytest.param(lambda pid: json.dumps({"pid": pid}), Kept.BY_NOBODY, id="it is noted"),
        pytest.param(lambda pid: json.dumps({"pid": pid + 1}), Kept.BY_ANOTHER, id="another is"),
        pytest.param(lambda _: "{", Kept.BY_ANOTHER, id="a note that is damaged"),
        pytest.param(lambda _: "[]", Kept.BY_ANOTHER, id="a note that is none"),
    ],
)
def test_an_agent_alone_is_kept_by_nobody_where_an_earlier_run_all_noted_it(
    layout: RootedLayout, record: Callable[[int], str], kept: Kept
) -> None:
    with own_process(layout.instance, "run") as agent:
        _record(layout, record(agent.pid))
        assert supervision.look(layout, answers=True) is kept
        with own_process(layout.instance, "run", "--all"):
            assert supervision.look(layout, answers=True) is Kept.BY_RUN_ALL


def test_without_a_process_of_ours_it_is_another_s_agent_that_answers(layout: RootedLayout) -> None:
    assert supervision.look(layout, answers=False) is Kept.NOTHING_RUNS
    assert supervision.look(layout, answers=True) is Kept.BY_ANOTHER


def test_status_says_that_nothing_is_started_again(layout: RootedLayout) -> None:
    answer: dict[str, object] = {"warnings": ["one"], "waiting": []}
    with own_process(layout.instance, "run") as agent:
        assert supervision.told(answer, layout) == answer
        _record(layout, json.dumps({"pid": agent.pid}))
        assert supervision.told(answer, layout) == {
            "warnings": ["one", supervision.UNKEPT],
            "waiting": [],
        }
        assert supervision.told({}, layout) == {"warnings": [supervision.UNKEPT]}
        assert supervision.told("no answer of ours", layout) == "no answer of ours"
