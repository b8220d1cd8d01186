"""Silence: by the clock, and never more of it than was looked at."""

import pytest

from hostmesh_core import envoy_silence
from hostmesh_core.envoy_silence import SILENT_SECONDS, STEP_SECONDS, Silence


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
