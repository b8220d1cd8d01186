import heapq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostmesh_controlplane.logic.leases import LEASE_SECONDS, SWEEP_SECONDS, Leases

START = 1000.0


def of(*hosts: str, at: float = START) -> Leases:
    found = Leases(now=at)
    for host in hosts:
        found.grant(host, at)
    return found


def sweep_until(held: Leases, until: float, *, start: float = START) -> dict[str, float]:
    """Sweep every half second; give when each lease ended."""
    ended: dict[str, float] = {}
    steps = int((until - start) / SWEEP_SECONDS)
    for step in range(1, steps + 1):
        now = start + step * SWEEP_SECONDS
        ended.update(dict.fromkeys(held.sweep(now).ended, now))
    return ended


def test_a_silent_host_s_lease_ends_after_twelve_seconds_and_at_the_next_sweep() -> None:
    ended = sweep_until(of("a"), START + 20)
    assert ended == {"a": START + LEASE_SECONDS}


def test_a_renewed_lease_lives_twelve_seconds_from_its_last_renewal() -> None:
    held = of("a")
    assert sweep_until(held, START + 8) == {}
    assert held.renew("a", START + 8.2)
    ended = sweep_until(held, START + 30, start=START + 8)
    assert ended == {"a": START + 20.5}


def test_an_ended_lease_cannot_be_renewed_the_host_must_register() -> None:
    held = of("a")
    sweep_until(held, START + 13)
    assert not held.renew("a", START + 13)
    assert "a" not in held


def test_a_released_lease_is_not_called_ended() -> None:
    held = of("a", "b")
    held.release("a")
    assert sweep_until(held, START + 13) == {"b": START + 12}


def test_a_host_that_left_and_came_back_has_one_full_lease() -> None:
    held = of("a")
    held.release("a")
    held.grant("a", START + 1)
    held.grant("a", START + 2)
    assert sweep_until(held, START + 20) == {"a": START + 14}


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        pytest.param(1.9, START + 12, id="a sweep that is a little late extends nothing"),
        pytest.param(20.0, START + 32, id="SIGSTOP for 20 s extends every lease by 20 s"),
        pytest.param(3600.0, START + 3612, id="a machine asleep for an hour ends nobody"),
    ],
)
def test_a_gap_between_sweeps_extends_all_leases_by_the_gap(gap: float, expected: float) -> None:
    held = of("a")
    swept = held.sweep(START + gap)
    assert swept.ended == ()
    assert swept.gap_seconds == (gap if gap > 2 else 0)
    ended = sweep_until(held, START + gap + 20, start=START + gap)
    assert ended["a"] == pytest.approx(expected, abs=SWEEP_SECONDS)


def test_a_renewal_that_is_handled_before_the_first_sweep_after_a_gap_is_not_extended_too() -> None:
    held = of("a", "b")
    now = START + 20
    held.renew("a", now)
    assert held.sweep(now).gap_seconds == 20, "whoever noticed it first, it is told"
    ended = sweep_until(held, now + 20, start=now)
    assert ended["a"] == now + 12
    assert ended["b"] == pytest.approx(now + 12, abs=SWEEP_SECONDS)


@pytest.mark.parametrize(
    ("silent", "alive", "ends"),
    [
        pytest.param(5, 0, True, id="five of five end: not over five"),
        pytest.param(5, 3, True, id="five of eight end: not over five"),
        pytest.param(6, 4, False, id="six of ten are held: over five and over 30 %"),
        pytest.param(6, 14, True, id="six of twenty end: exactly 30 %"),
        pytest.param(7, 14, False, id="seven of twenty-one are held: a third"),
        pytest.param(40, 60, False, id="forty of a hundred are held"),
        pytest.param(30, 70, True, id="thirty of a hundred end"),
    ],
)
def test_when_too_many_would_end_at_once_they_are_held(
    silent: int, alive: int, *, ends: bool
) -> None:
    dead = [f"dead{number}" for number in range(silent)]
    well = [f"well{number}" for number in range(alive)]
    held = of(*dead, *well)
    now = START
    ended: set[str] = set()
    swept = held.sweep(now)
    while now < START + 30:
        now += SWEEP_SECONDS
        for host in well:
            held.renew(host, now)
        swept = held.sweep(now)
        ended |= set(swept.ended)
    assert ended == (set(dead) if ends else set())
    assert set(swept.held) == (set() if ends else set(dead))


def test_held_leases_end_when_enough_of_the_others_have_come_back() -> None:
    hosts = [f"h{number}" for number in range(20)]
    held = of(*hosts)
    now = START
    for _ in range(28):
        now += SWEEP_SECONDS
        for host in hosts[10:]:
            held.renew(host, now)
        assert held.sweep(now).ended == ()
    for host in hosts[4:]:
        held.renew(host, now)
    assert held.sweep(now + 0.1).ended == tuple(hosts[:4])


def test_an_operator_lets_held_leases_end_and_nobody_else() -> None:
    hosts = [f"h{number}" for number in range(10)]
    held = of(*hosts)
    for step in range(1, 27):
        held.sweep(START + step * SWEEP_SECONDS)
    assert len(held) == 10
    held.renew("h3", START + 13)
    gone = held.give_up_held()
    assert gone == tuple(host for host in hosts if host != "h3")
    assert held.sweep(START + 13.4).ended == gone
    assert len(held) == 1


def test_a_host_that_renews_after_an_operator_gave_it_up_stays() -> None:
    hosts = [f"h{number}" for number in range(10)]
    held = of(*hosts)
    for step in range(1, 27):
        held.sweep(START + step * SWEEP_SECONDS)
    held.give_up_held()
    held.renew("h0", START + 13)
    assert "h0" not in held.sweep(START + 13.4).ended


def test_a_sweep_costs_what_ends_not_what_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    touched = 0
    true_pop = heapq.heappop

    def counted(heap: list[tuple[float, str]]) -> tuple[float, str]:
        nonlocal touched
        touched += 1
        return true_pop(heap)

    monkeypatch.setattr("heapq.heappop", counted)
    held = Leases(now=START)
    for number in range(10_000):
        held.grant(f"h{number}", START)
    for step in range(1, 19):
        held.sweep(START + step * SWEEP_SECONDS)
    assert touched == 0, "nobody is near the end in the first nine seconds"


HOSTS = st.sampled_from([f"h{number}" for number in range(5)])
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("grant"), HOSTS),
        st.tuples(st.just("renew"), HOSTS),
        st.tuples(st.just("release"), HOSTS),
        st.tuples(st.just("pass"), st.floats(0.05, 1.9)),
        st.tuples(st.just("stop"), st.floats(2.1, 60.0)),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(MOVES)
def test_no_lease_ends_early_every_unrenewed_one_ends_in_time_and_gaps_end_nobody(
    moves: list[tuple[str, object]],
) -> None:
    """At most five hosts, so that none is ever held. Time awake is what counts."""
    held = Leases(now=START)
    now, awake = START, 0.0
    ends: dict[str, float] = {}
    for kind, detail in moves:
        match kind, detail:
            case "grant", str(host):
                held.grant(host, now)
                ends[host] = awake + LEASE_SECONDS
            case "renew", str(host):
                assert held.renew(host, now) is (host in ends)
                if host in ends:
                    ends[host] = awake + LEASE_SECONDS
            case "release", str(host):
                held.release(host)
                ends.pop(host, None)
            case "pass", float(seconds):
                now += seconds
                awake += seconds
                expired = {host for host, end in ends.items() if end <= awake + 1e-6}
                assert set(held.sweep(now).ended) <= expired
                surely = {host for host, end in ends.items() if end <= awake - 1e-6}
                assert not any(host in held for host in surely)
                ends = {host: end for host, end in ends.items() if host in held}
            case "stop", float(seconds):
                now += seconds
                assert held.sweep(now).ended == (), "a gap ends nobody"
            case _:
                raise AssertionError(kind)
    assert len(held) == len(ends)
