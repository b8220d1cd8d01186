"""Silence: by the clock, and never more of it than was looked at."""

import pytest

from hostmesh_core import envoy_silence
from hostmesh_core.envoy_silence import (
    OVERLOADED_SECONDS,
    SILENT_SECONDS,
    STEP_SECONDS,
    Silence,
)


def _after(*looks: tuple[float, float]) -> Silence:
    """Give the silence after questions: when each was asked, and when it was given up."""
    silence = Silence()
    for asked, now in looks:
        silence = silence.goes_on(asked, now)
    return silence


@pytest.mark.parametrize(
    ("looks", "fails"),
    [
        pytest.param([(100 + n / 30, 100 + n / 30) for n in range(270)], False, id="9 s of RST"),
        pytest.param([(100 + n / 30, 100 + n / 30) for n in range(310)], True, id="10 s of RST"),
        pytest.param([(100, 105), (106, 109.9)], False, id="two questions given up, 9.9 s"),
        pytest.param([(100, 105), (106, 110)], True, id="two questions given up, 10 s"),
        pytest.param([(100, 100.1), (100, 500)], False, id="the asking process stood still"),
        pytest.param([(100, 500), (500, 503)], True, id="it stood still, and silence went on"),
    ],
)
def test_only_the_clock_decides(looks: list[tuple[float, float]], fails: bool) -> None:  # noqa: FBT001
    assert _after(*looks).is_failure == fails


def test_standing_still_alone_is_never_enough() -> None:
    assert STEP_SECONDS < SILENT_SECONDS
    assert STEP_SECONDS > envoy_silence.ANSWER_SECONDS + 1


def test_the_last_question_waits_until_the_verdict() -> None:
    assert Silence().patience(100) == envoy_silence.ANSWER_SECONDS
    assert _after((100, 105)).patience(106) == pytest.approx(4.0)
    assert _after((100, 105), (106, 109.8)).patience(109.9) == envoy_silence.LEAST_ANSWER_SECONDS


def _first_failure(busy: float | None, hangs_after: float = 1e9) -> float:
    """Give when silence is failure: the workers are busy for `busy` of each second until then."""
    silence, at, worked = Silence(worked=None if busy is None else 7.0), 100.0, 7.0
    while not silence.is_failure:
        at += 1.0
        worked += (busy or 0.0) if at - 100.0 <= hangs_after else 0.0
        silence = silence.goes_on(at - 1.0, at, None if busy is None else worked)
    return at - 100.0


@pytest.mark.parametrize(
    ("busy", "fails_after"),
    [
        pytest.param(0.0, SILENT_SECONDS, id="no worker wants a processor: it hangs"),
        pytest.param(None, SILENT_SECONDS, id="nobody can tell"),
        pytest.param(1.0, OVERLOADED_SECONDS, id="one worker has all it can do"),
        pytest.param(4.0, OVERLOADED_SECONDS, id="four have"),
        pytest.param(0.5, 2 * SILENT_SECONDS, id="half of the time"),
    ],
)
def test_busy_workers_are_waited_for_longer(busy: float | None, fails_after: float) -> None:
    assert _first_failure(busy) == fails_after


def test_one_that_was_busy_and_then_hangs_is_found_as_fast_as_any() -> None:
    assert _first_failure(1.0, hangs_after=20.0) == 20.0 + SILENT_SECONDS


@pytest.mark.parametrize(
    ("schedstats", "seconds"),
    [
        pytest.param([], None, id="no worker"),
        pytest.param([""], None, id="a kernel that does not count"),
        pytest.param(["1500000000 500000000 12\n"], 2.0, id="running and waiting"),
        pytest.param(["1000000000 0 3\n", "0 250000000 1\n"], 1.25, id="two workers"),
    ],
)
def test_what_the_kernel_says_of_workers(schedstats: list[str], seconds: float | None) -> None:
    assert envoy_silence.worked(schedstats) == seconds
