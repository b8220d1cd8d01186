"""When a renewal is due, as numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_core import rotation
from hostmesh_core.errors import BadInput
from hostmesh_core.rotation import Renewal

DAY = 86400.0

moments = st.floats(0, 4e9)
lives = st.floats(1.0, 10 * 365 * DAY)
jitters = st.floats(0, 1)
shares = st.floats(0.01, 0.99)


@pytest.mark.parametrize(
    ("life", "jitter", "due"),
    [
        pytest.param(72 * 3600, 0.0, 28.8 * 3600, id="72 hours, the earliest"),
        pytest.param(72 * 3600, 1.0, 43.2 * 3600, id="72 hours, the latest"),
        pytest.param(72 * 3600, 0.5, 36 * 3600, id="72 hours, in the middle"),
        pytest.param(10, 0.5, 5, id="ten seconds"),
    ],
)
def test_due_is_a_share_of_the_life(life: float, jitter: float, due: float) -> None:
    begin = 1000.0
    assert rotation.renewal_time(begin, begin + life, jitter) == pytest.approx(begin + due)


ROTATION = {
    # now, not_before, not_after, jitter, due
    "at birth": (0, 0, 100, 0.0, False),
    "before the earliest moment": (39, 0, 100, 0.0, False),
    "at the earliest moment": (40, 0, 100, 0.0, True),
    "at the earliest moment, drawn late": (40, 0, 100, 1.0, False),
    "before the latest moment, drawn late": (59, 0, 100, 1.0, False),
    "at the latest moment": (60, 0, 100, 1.0, True),
    "at its end": (100, 0, 100, 0.5, True),
    "long after its end": (1e6, 0, 100, 1.0, True),
    "before it begins (the clock was set back)": (-50, 0, 100, 0.0, False),
}


@pytest.mark.parametrize("case", ROTATION)
def test_should_rotate(case: str) -> None:
    now, not_before, not_after, jitter, due = ROTATION[case]
    assert rotation.should_rotate(now, not_before, not_after, jitter) is due


@given(begin=moments, life=lives, jitter=jitters)
def test_the_moment_lies_between_40_and_60_percent(
    begin: float, life: float, jitter: float
) -> None:
    due = rotation.renewal_time(begin, begin + life, jitter)
    share = (due - begin) / ((begin + life) - begin)
    assert 0.4 - 1e-6 <= share <= 0.6 + 1e-6


@given(begin=moments, life=lives, jitter=jitters, early=shares, late=shares)
def test_a_configured_share_holds_whatever_is_drawn(
    begin: float, life: float, jitter: float, early: float, late: float
) -> None:
    low, high = sorted((early, late))
    renewal = Renewal(low, high)
    due = rotation.renewal_time(begin, begin + life, jitter, renewal)
    end = begin + life
    assert begin + (end - begin) * low - 1 <= due <= begin + (end - begin) * high + 1


@given(begin=moments, life=lives, jitter=jitters, now=moments, later=st.floats(0, 1e9))
def test_what_is_due_stays_due(
    begin: float, life: float, jitter: float, now: float, later: float
) -> None:
    if rotation.should_rotate(now, begin, begin + life, jitter):
        assert rotation.should_rotate(now + later, begin, begin + life, jitter)


@pytest.mark.parametrize(
    ("begin", "end", "jitter"),
    [
        pytest.param(0, 100, -0.1, id="a jitter below 0"),
        pytest.param(0, 100, 1.1, id="a jitter over 1"),
        pytest.param(100, 100, 0.5, id="no life at all"),
    ],
)
def test_nonsense_is_a_bug(begin: float, end: float, jitter: float) -> None:
    with pytest.raises(ValueError, match="cannot"):
        rotation.renewal_time(begin, end, jitter)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(0.6, 0.4, id="shares in the wrong order"),
        pytest.param(0.4, 1.0, id="at the end"),
        pytest.param(0.0, 0.6, id="at birth"),
        pytest.param(-0.5, 0.6, id="a share below 0"),
        pytest.param(0.4, float("nan"), id="what is no number"),
    ],
)
def test_no_plan_is(start: float, end: float) -> None:
    with pytest.raises(BadInput, match="cannot renew certificates between"):
        Renewal(start, end)


def test_seconds_left_never_go_below_zero() -> None:
    assert rotation.seconds_left(90, 100) == 10
    assert rotation.seconds_left(100, 100) == 0
    assert rotation.seconds_left(200, 100) == 0


@given(life=lives)
def test_a_fresh_certificate_is_never_due_however_short_its_life(life: float) -> None:
    back = rotation.backdate(life, 300.0)
    assert back == min(300.0, life / 10)
    assert not rotation.should_rotate(0.0, -back, life, 0.0)
