import pytest

from hostmesh_controlplane.edges.consul_index import (
    TokenBucket,
    fair_wait,
    next_index,
    read_timeout,
    retry_delay,
)


@pytest.mark.parametrize(
    ("previous", "returned", "expected"),
    [
        pytest.param(0, 42, 42, id="the first answer"),
        pytest.param(42, 42, 42, id="a wait that ran out"),
        pytest.param(42, 43, 43, id="a change"),
        pytest.param(42, 41, 0, id="backwards: start anew"),
        pytest.param(9, 10, 10, id="numbers are not compared as texts"),
        pytest.param(42, 0, 1, id="zero would answer at once for ever"),
        pytest.param(42, None, 1, id="no header"),
        pytest.param(0, 0, 1, id="zero at the start"),
    ],
)
def test_the_next_index(previous: int, returned: int | None, expected: int) -> None:
    assert next_index(previous, returned) == expected


def test_an_answer_may_take_a_sixteenth_more_than_the_wait_and_some_slack() -> None:
    assert read_timeout(240) == 265
    assert read_timeout(0) == 10


def test_pauses_grow_with_the_square_up_to_a_limit() -> None:
    delays = [retry_delay(n, jitter=0.5) for n in (1, 2, 3, 4, 10, 1000)]
    assert delays == [0.5, 2.0, 4.5, 8.0, 15.0, 15.0]
    assert retry_delay(2, jitter=0) < 2.0 < retry_delay(2, jitter=1)


def test_waits_shrink_where_watches_take_turns() -> None:
    assert fair_wait(240, watches=176, slots=176) == 240
    assert fair_wait(240, watches=352, slots=176) == 5
    assert fair_wait(240, watches=100_000, slots=176) == 1


def test_a_watch_may_ask_a_few_times_at_once_and_then_at_its_rate() -> None:
    bucket = TokenBucket(burst=5, refill_seconds=1.0)
    assert [bucket.take(100.0) for _ in range(5)] == [0.0] * 5
    assert bucket.take(100.0) == pytest.approx(1.0)
    assert bucket.take(101.0) == pytest.approx(1.0)
    assert bucket.take(200.0) == 0.0


def test_as_many_as_are_there() -> None:
    bucket = TokenBucket(burst=5, refill_seconds=2.0)
    assert bucket.up_to(3, 100.0) == 3
    assert bucket.up_to(9, 100.0) == 2
    assert bucket.up_to(9, 104.0) == 2
