import pytest

from hostmesh_agent.logic.relay_failover import FIRST_SECONDS, LIMIT_SECONDS, Failover


def test_the_others_are_tried_at_once_then_there_is_a_growing_pause() -> None:
    failover = Failover(["a", "b", "c"])
    tried = []
    waits = []
    for _ in range(9):
        tried.append(failover.address)
        waits.append(failover.failed(jitter=1.0))
    assert tried == ["a", "b", "c"] * 3
    first = FIRST_SECONDS
    assert waits == [0, 0, first, 0, 0, first * 2, 0, 0, first * 4]


def test_the_pause_has_a_limit_and_is_jittered_down_to_its_half() -> None:
    failover = Failover(["a"])
    for _ in range(20):
        failover.failed(jitter=1.0)
    assert failover.failed(jitter=1.0) == LIMIT_SECONDS
    assert failover.failed(jitter=0.0) == LIMIT_SECONDS / 2


def test_a_stream_that_stood_begins_anew() -> None:
    failover = Failover(["a", "b"])
    for _ in range(5):
        failover.failed(jitter=1.0)
    failover.connected()
    assert failover.failed(jitter=1.0) == 0
    assert failover.failed(jitter=1.0) == FIRST_SECONDS


@pytest.mark.parametrize(("start", "address"), [(0, "a"), (1, "b"), (5, "b")])
def test_agents_start_at_different_ones(start: int, address: str) -> None:
    assert Failover(["a", "b"], start=start).address == address


def test_without_any_it_says_so() -> None:
    with pytest.raises(ValueError, match="no control plane is configured"):
        Failover([])
