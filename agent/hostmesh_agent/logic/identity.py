"""One certificate's life as a state machine: `step(state, event, now=…)` gives state and commands.

There is one machine for the host certificate and one for each workload's. What is held goes on
serving through every failure, until its NotAfter. Waits are shares of the certificate's own life,
so that a certificate of ten seconds is renewed by the same rules as one of 72 hours.

Nothing here reads a clock, makes a key or talks to anybody. Events queue, so each may be late: an
answer counts only for the run that asked, a wake-up only in the phase and run that asked for it.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from hostmesh_core import rotation
from hostmesh_core.backoff import next_delay
from hostmesh_core.ids import Identity
from hostmesh_core.rotation import Renewal

_LONGEST_SLEEP = 30.0
"""Seconds. A host that was suspended, or whose clock was set, looks again after this long."""
_LONGEST_ANSWER = 10.0
_UNKNOWN_LIFE = 600.0
"""Seconds: what waits are measured by while there is no certificate yet."""


class Phase(StrEnum):
    """Where a certificate is in its life."""

    NONE = "none"
    """Nothing is known yet."""
    HELD = "held"
    """It is there and not due."""
    ASKED = "asked"
    """A new one has been asked for."""
    RETRY = "retry"
    """No answer came; the next try waits."""
    REFUSED = "refused"
    """The control plane said no; the next try waits longer."""
    EXPIRED = "expired"
    """The host's own certificate ended: no stream takes it any more, so asking is over."""


@dataclass(frozen=True, slots=True)
class Validity:
    """A certificate as this machine sees it. Times are seconds since the epoch."""

    serial: str
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True)
class State:
    """All that is remembered of one certificate. `identity` None = the host's own."""

    identity: Identity | None
    phase: Phase = Phase.NONE
    run: int = 0
    held: Validity | None = None
    renew_at: float = 0.0
    delay: float = 0.0
    why: str = ""
    """The sentence of the last failure or refusal; empty when all is well."""

    @property
    def timer(self) -> str:
        """Name of the one wake-up that may act in this phase of this run."""
        return f"{self.identity or 'host'}/{self.phase}/{self.run}"

    def seconds_left(self, now: float) -> float:
        """Give how long the held certificate still serves; 0 without one."""
        return rotation.seconds_left(now, self.held.not_after) if self.held else 0.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What lay on disk at start, or None. `jitter`, 0 to 1, is drawn once per certificate."""

    found: Validity | None
    jitter: float
    renewal: Renewal = Renewal()  # noqa: RUF009 (frozen)


@dataclass(frozen=True, slots=True)
class Answered:
    """A new certificate for the key of this run."""

    run: int
    fresh: Validity
    jitter: float
    renewal: Renewal = Renewal()  # noqa: RUF009 (frozen)


@dataclass(frozen=True, slots=True)
class Denied:
    """The control plane's no to this run."""

    run: int
    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """This run got no answer, or none that can be used."""

    run: int
    why: str


@dataclass(frozen=True, slots=True)
class Nudged:
    """Something changed that makes asking now worthwhile: an order, a grant, a new stream."""


@dataclass(frozen=True, slots=True)
class Elapsed:
    """The `WakeAfter` of this name ran out; it may come late."""

    name: str


Event = Loaded | Answered | Denied | Failed | Nudged | Elapsed


@dataclass(frozen=True, slots=True)
class Ask:
    """Make a new key and ask for its certificate; the answer names the run again."""

    run: int


@dataclass(frozen=True, slots=True)
class Install:
    """Store key and certificate of this run and serve them from now on."""

    run: int


@dataclass(frozen=True, slots=True)
class WakeAfter:
    """Send `Elapsed(name)` back after `seconds`."""

    name: str
    seconds: float


Command = Ask | Install | WakeAfter
Step = tuple[State, list[Command]]


def step(state: State, event: Event, *, now: float) -> Step:
    """Return the state after `event` and what to do about it. `now`: seconds since the epoch."""
    match event:
        case Loaded():
            return _loaded(state, event, now)
        case Answered(run):
            return _answered(state, event, now) if _awaits(state, run) else (state, [])
        case Denied(run, why):
            return _denied(state, why, now) if _awaits(state, run) else (state, [])
        case Failed(run, why):
            return _failed(state, why, now) if _awaits(state, run) else (state, [])
        case Nudged():
            return _nudged(state, now)
        case Elapsed(name):
            return _elapsed(state, now) if name == state.timer else (state, [])
        case _:
            assert_never(event)


def _awaits(state: State, run: int) -> bool:
    return state.phase is Phase.ASKED and state.run == run


def _loaded(state: State, event: Loaded, now: float) -> Step:
    if state.phase is not Phase.NONE:
        raise RuntimeError(f"loaded twice: {state.timer}")
    if event.found is None:
        return _asked(state, now)
    return _holding(_with(state, event.found, event), now)


def _answered(state: State, event: Answered, now: float) -> Step:
    if event.fresh.not_after <= now:
        return _failed(state, "cannot use the new certificate: it has ended already", now)
    run = state.run
    state, commands = _holding(_with(state, event.fresh, event), now)
    return state, [Install(run), *commands]


def _with(state: State, fresh: Validity, plan: Loaded | Answered) -> State:
    due = rotation.renewal_time(fresh.not_before, fresh.not_after, plan.jitter, plan.renewal)
    return replace(state, held=fresh, renew_at=due, delay=0.0, why="")


def _holding(state: State, now: float) -> Step:
    """Wait until the renewal is due, in sleeps that a set clock cannot make too long."""
    if _over(state, now):
        return _expired(state)
    if now >= state.renew_at:
        return _asked(state, now)
    state = replace(state, phase=Phase.HELD)
    return state, [WakeAfter(state.timer, min(state.renew_at - now, _LONGEST_SLEEP))]


def _asked(state: State, now: float) -> Step:
    if _over(state, now):
        return _expired(state)
    state = replace(state, phase=Phase.ASKED, run=state.run + 1)
    longest = min(_LONGEST_ANSWER, max(0.5, _measure(state, now) / 8))
    return state, [Ask(state.run), WakeAfter(state.timer, longest)]


def _denied(state: State, why: str, now: float) -> Step:
    """Wait as long as failures ever do: only a person can change the answer."""
    _, limit = _pauses(state, now)
    state = replace(state, phase=Phase.REFUSED, why=why, delay=limit)
    return state, [WakeAfter(state.timer, _bounded(state, limit, now))]


def _failed(state: State, why: str, now: float) -> Step:
    if _over(state, now):
        return _expired(replace(state, why=why))
    first, limit = _pauses(state, now)
    delay = next_delay(state.delay, first=first, factor=2, limit=limit)
    state = replace(state, phase=Phase.RETRY, why=why, delay=delay)
    return state, [WakeAfter(state.timer, _bounded(state, delay, now))]


def _nudged(state: State, now: float) -> Step:
    match state.phase:
        case Phase.HELD | Phase.RETRY | Phase.REFUSED:
            return _asked(state, now)
        case Phase.NONE | Phase.ASKED | Phase.EXPIRED:
            return state, []


def _elapsed(state: State, now: float) -> Step:
    match state.phase:
        case Phase.HELD:
            return _holding(state, now)
        case Phase.ASKED:
            return _failed(state, "cannot renew: the control plane has not answered in time", now)
        case Phase.RETRY | Phase.REFUSED:
            return _asked(state, now)
        case Phase.NONE | Phase.EXPIRED:
            return state, []


def _over(state: State, now: float) -> bool:
    """Whether asking is over: a workload's may always be asked for over the host's stream."""
    host = state.identity is None
    return host and state.held is not None and now >= state.held.not_after


def _expired(state: State) -> Step:
    why = state.why or "cannot renew: the host certificate has ended"
    return replace(state, phase=Phase.EXPIRED, why=why), []


def _pauses(state: State, now: float) -> tuple[float, float]:
    """Give the first and the longest pause between tries."""
    measure = _measure(state, now)
    longest = min(_LONGEST_SLEEP, max(0.5, measure / 20))
    return min(longest, max(0.2, measure / 1000)), longest


def _bounded(state: State, delay: float, now: float) -> float:
    """Never sleep past the end: the moment a host certificate ends is noticed."""
    left = state.seconds_left(now)
    return min(delay, left) if left > 0 else delay


def _measure(state: State, now: float) -> float:
    """Give what waits are a share of: the time left, or a fixed one where nothing is left."""
    return state.seconds_left(now) or _UNKNOWN_LIFE
