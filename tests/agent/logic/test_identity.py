"""A certificate's life as a table, and as walks of every event through every state."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostmesh_agent.logic import identity
from hostmesh_agent.logic.identity import (
    Answered,
    Ask,
    Command,
    Denied,
    Elapsed,
    Event,
    Failed,
    Install,
    Loaded,
    Nudged,
    Phase,
    State,
    Validity,
    WakeAfter,
)
from hostmesh_core.ids import Identity

WEB = Identity("default", "web")
HOUR = 3600.0
OLD = Validity("old", 0.0, 72 * HOUR)
NEW = Validity("new", 36 * HOUR, 108 * HOUR)
HOST, WORKLOAD = State(None), State(WEB)


def _step(state: State, event: Event, hours: float) -> tuple[State, list[Command]]:
    return identity.step(state, event, now=hours * HOUR)


HELD, _ = _step(WORKLOAD, Loaded(OLD, 0.5), 1)
HELD_BY_HOST, _ = _step(HOST, Loaded(OLD, 0.5), 1)
ASKED, _ = _step(HELD, Elapsed(HELD.timer), 36)
ASKED_BY_HOST, _ = _step(HELD_BY_HOST, Elapsed(HELD_BY_HOST.timer), 36)
ASKED_FIRST, _ = _step(WORKLOAD, Loaded(None, 0.5), 0)
RETRY, _ = _step(ASKED, Failed(1, "away"), 36)
RETRY_BY_HOST, _ = _step(ASKED_BY_HOST, Failed(1, "away"), 36)
REFUSED, _ = _step(ASKED, Denied(1, "no"), 36)
EXPIRED, _ = _step(HOST, Loaded(OLD, 0.5), 73)

LIFE: dict[str, tuple[State, Event, float, Phase, list[Command]]] = {
    "nothing on disk: asks at once": (
        *(WORKLOAD, Loaded(None, 0.5), 0.0, Phase.ASKED),
        [Ask(1), WakeAfter("default/web/asked/1", 10.0)],
    ),
    "a fresh one on disk: waits": (
        *(WORKLOAD, Loaded(OLD, 0.5), 1.0, Phase.HELD),
        [WakeAfter("default/web/held/0", 30.0)],
    ),
    "an almost due one: waits for its moment": (
        *(WORKLOAD, Loaded(OLD, 0.5), 36 - 10 / HOUR, Phase.HELD),
        [WakeAfter("default/web/held/0", 10.0)],
    ),
    "a due one on disk: asks": (
        *(WORKLOAD, Loaded(OLD, 0.5), 36.0, Phase.ASKED),
        [Ask(1), WakeAfter("default/web/asked/1", 10.0)],
    ),
    "an ended workload's on disk: asks": (
        *(WORKLOAD, Loaded(OLD, 0.5), 80.0, Phase.ASKED),
        [Ask(1), WakeAfter("default/web/asked/1", 10.0)],
    ),
    "an ended host's on disk: asking is over": (HOST, Loaded(OLD, 0.5), 72.0, Phase.EXPIRED, []),
    "looked again before it is due: waits on": (
        *(HELD, Elapsed(HELD.timer), 20.0, Phase.HELD),
        [WakeAfter("default/web/held/0", 30.0)],
    ),
    "due: asks": (
        *(HELD, Elapsed(HELD.timer), 36.0, Phase.ASKED),
        [Ask(1), WakeAfter("default/web/asked/1", 10.0)],
    ),
    "the clock was set back: waits on": (
        *(HELD, Elapsed(HELD.timer), -500.0, Phase.HELD),
        [WakeAfter("default/web/held/0", 30.0)],
    ),
    "ordered before it is due: asks": (
        *(HELD, Nudged(), 2.0, Phase.ASKED),
        [Ask(1), WakeAfter("default/web/asked/1", 10.0)],
    ),
    "answered: installs and waits": (
        *(ASKED, Answered(1, NEW, 0.5), 36.0, Phase.HELD),
        [Install(1), WakeAfter("default/web/held/1", 30.0)],
    ),
    "answered with one that ended: tries again": (
        *(ASKED, Answered(1, Validity("x", 0, HOUR), 0.5), 36.0, Phase.RETRY),
        [WakeAfter("default/web/retry/1", 30.0)],
    ),
    "answered for an earlier run: nothing": (ASKED, Answered(0, NEW, 0.5), 36.0, Phase.ASKED, []),
    "answered when it is too late: nothing": (RETRY, Answered(1, NEW, 0.5), 36.0, Phase.RETRY, []),
    "ordered while asked: nothing": (ASKED, Nudged(), 36.0, Phase.ASKED, []),
    "no answer in time: tries again": (
        *(ASKED, Elapsed(ASKED.timer), 36.0, Phase.RETRY),
        [WakeAfter("default/web/retry/1", 30.0)],
    ),
    "refused: waits as long as it ever does": (
        *(ASKED, Denied(1, "no"), 36.0, Phase.REFUSED),
        [WakeAfter("default/web/refused/1", 30.0)],
    ),
    "refused for an earlier run: nothing": (ASKED, Denied(0, "no"), 36.0, Phase.ASKED, []),
    "the wait is over: asks again": (
        *(RETRY, Elapsed(RETRY.timer), 37.0, Phase.ASKED),
        [Ask(2), WakeAfter("default/web/asked/2", 10.0)],
    ),
    "a wait of an earlier run is over: nothing": (
        *(RETRY, Elapsed("default/web/retry/0"), 37.0, Phase.RETRY),
        [],
    ),
    "the refusal is over: asks again": (
        *(REFUSED, Nudged(), 37.0, Phase.ASKED),
        [Ask(2), WakeAfter("default/web/asked/2", 10.0)],
    ),
    "a workload's ended while the control plane was away: asks on": (
        *(RETRY, Elapsed(RETRY.timer), 73.0, Phase.ASKED),
        [Ask(2), WakeAfter("default/web/asked/2", 10.0)],
    ),
    "the host's ended while the control plane was away: asking is over": (
        *(RETRY_BY_HOST, Elapsed(RETRY_BY_HOST.timer), 72.0, Phase.EXPIRED),
        [],
    ),
    "the host's ended while asked: asking is over": (
        *(ASKED_BY_HOST, Failed(1, "away"), 72.0, Phase.EXPIRED),
        [],
    ),
    "a host's failure just before its end: looks again at the end": (
        *(ASKED_BY_HOST, Failed(1, "away"), 72 - 0.1 / HOUR, Phase.RETRY),
        [WakeAfter("host/retry/1", 0.1)],
    ),
    "ordered before anything is known: nothing": (WORKLOAD, Nudged(), 1.0, Phase.NONE, []),
    "a wake-up after the end: nothing": (EXPIRED, Elapsed(EXPIRED.timer), 80.0, Phase.EXPIRED, []),
    "ordered after the end: nothing": (EXPIRED, Nudged(), 80.0, Phase.EXPIRED, []),
}


@pytest.mark.parametrize("case", LIFE)
def test_life(case: str) -> None:
    state, event, hours, phase, commands = LIFE[case]
    after, done = _step(state, event, hours)
    assert after.phase is phase
    assert [_rounded(command) for command in done] == commands


def _rounded(command: Command) -> Command:
    if isinstance(command, WakeAfter):
        return replace(command, seconds=round(command.seconds, 3))
    return command


def test_what_is_held_stays_until_a_new_one_is_installed() -> None:
    for state in (ASKED, RETRY, REFUSED):
        assert state.held == OLD
    after, _ = _step(ASKED, Answered(1, NEW, 0.5), 36)
    assert after.held == NEW


def test_the_reason_is_kept_until_all_is_well() -> None:
    assert (RETRY.why, REFUSED.why) == ("away", "no")
    after, _ = _step(replace(RETRY, phase=Phase.ASKED), Answered(1, NEW, 0.5), 36)
    assert after.why == ""


def test_waits_grow_to_a_share_of_what_is_left_and_begin_anew_with_a_new_certificate() -> None:
    short = Validity("s", 0.0, 100.0)
    state, _ = identity.step(WORKLOAD, Loaded(short, 0.0), now=40.0)
    waits = []
    for _ in range(6):
        state, commands = identity.step(state, Failed(state.run, "away"), now=40.0)
        (wake,) = commands
        assert isinstance(wake, WakeAfter)
        waits.append(wake.seconds)
        state, _ = identity.step(state, Elapsed(state.timer), now=40.0)
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.0, 3.0]
    state, _ = identity.step(state, Answered(state.run, Validity("n", 40, 140), 0.5), now=40.0)
    assert state.delay == 0


def test_loading_twice_is_a_bug() -> None:
    with pytest.raises(RuntimeError, match="loaded twice"):
        _step(HELD, Loaded(None, 0.5), 2)


lives = st.floats(1.0, 1000 * HOUR)
jitters = st.floats(0, 1)


@given(life=lives, jitter=jitters)
def test_a_certificate_of_any_life_is_asked_for_between_40_and_60_percent(
    life: float, jitter: float
) -> None:
    now = 0.0
    state, commands = identity.step(HOST, Loaded(Validity("a", 0.0, life), jitter), now=now)
    for _ in range(3):
        (wake,) = commands
        assert isinstance(wake, WakeAfter)
        assert 0 < wake.seconds <= 30
        now = state.renew_at if life > 100 else now + wake.seconds
        state, commands = identity.step(state, Elapsed(wake.name), now=now)
        if state.phase is Phase.ASKED:
            break
    assert state.phase is Phase.ASKED
    assert 0.4 * life - 1e-3 <= now <= 0.6 * life + 1e-3


@given(life=lives, jitter=jitters, lag=st.floats(0, 0.5))
def test_an_outage_that_ends_before_the_certificate_does_is_always_survived(
    life: float, jitter: float, lag: float
) -> None:
    """From the first failure on, so many tries fit that the last is near the end."""
    now = 0.0
    state, commands = identity.step(HOST, Loaded(Validity("a", 0.0, life), jitter), now=now)
    tries: list[float] = []
    while state.phase is not Phase.EXPIRED and len(tries) < 400:
        if state.phase is Phase.ASKED:
            tries.append(now)
            now += lag * min(life / 100, 1.0)
            state, commands = identity.step(state, Failed(state.run, "away"), now=now)
        else:
            wake = next(c for c in commands if isinstance(c, WakeAfter))
            quiet = state.phase is Phase.HELD and life > 100
            now = max(now + wake.seconds, state.renew_at if quiet else 0)
            state, commands = identity.step(state, Elapsed(wake.name), now=now)
    assert len(tries) >= 2 or life < 4
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert all(gap <= max(31.5, 0.6) for gap in gaps)


events = st.one_of(
    st.builds(
        Answered,
        st.integers(0, 6),
        st.builds(
            lambda begin, life: Validity("x", begin, begin + life),
            st.floats(0, 200 * HOUR),
            st.floats(1, 100 * HOUR),
        ),
        jitters,
    ),
    st.builds(Denied, st.integers(0, 6), st.just("no")),
    st.builds(Failed, st.integers(0, 6), st.just("away")),
    st.just(Nudged()),
    st.just("elapsed"),
    st.builds(Elapsed, st.sampled_from(["host/held/0", "host/asked/1", "host/retry/2", "x"])),
)


@given(
    identity_=st.sampled_from([None, WEB]),
    found=st.one_of(st.none(), st.just(OLD)),
    walk=st.lists(st.tuples(events, st.floats(0, 20 * HOUR)), max_size=30),
)
def test_every_walk_ends_with_one_wake_up_or_at_the_end_of_the_hosts(
    identity_: Identity | None,
    found: Validity | None,
    walk: list[tuple[Event | str, float]],
) -> None:
    now = 0.0
    state, commands = identity.step(State(identity_), Loaded(found, 0.5), now=now)
    runs = state.run
    alarm = {c.name for c in commands if isinstance(c, WakeAfter)}
    for event, wait in walk:
        now += wait
        given_event: Event = Elapsed(state.timer) if isinstance(event, str) else event
        before = state
        state, commands = identity.step(state, given_event, now=now)
        alarm |= {c.name for c in commands if isinstance(c, WakeAfter)}
        asks = [c for c in commands if isinstance(c, Ask)]
        assert len(asks) <= 1
        assert all(ask.run == runs + 1 for ask in asks)
        runs = state.run
        if before.held and state.held != before.held:
            assert any(isinstance(c, Install) for c in commands)
        if state.phase is Phase.EXPIRED:
            assert identity_ is None
        else:
            assert state.timer in alarm, "it would sleep for ever"
