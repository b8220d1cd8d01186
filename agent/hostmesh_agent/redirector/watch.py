"""Keeps rules and names as they should be for as long as it runs; leaves them when it ends.

`Watch.step` is one iteration, `Watch.run` the loop. What makes a pass: a file that was replaced, an
Envoy that came or went, the kernel's word that somebody changed rules, routes or addresses, and a
slow clock for what the kernel does not tell.
"""

import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field, replace

from hostmesh_agent.redirector import envoy, families, files, netlink, notify, reporting
from hostmesh_agent.redirector.engine import Engine, NotInForce, Result
from hostmesh_agent.redirector.envoy import Held, Question
from hostmesh_agent.redirector.inputs import Inputs
from hostmesh_agent.redirector.paths import Paths
from hostmesh_agent.redirector.strays import Strays
from hostmesh_agent.redirector.target import Serving, Target, decide
from hostmesh_core.backoff import next_delay
from hostmesh_core.envoy_silence import ANSWER_SECONDS, Silence
from hostmesh_core.errors import HostmeshError
from hostmesh_core.redirect_files import Outcome, Report

TICK_SECONDS = 0.1
"""How often the files are looked at: four stat calls."""
VERIFY_SECONDS = 5.0
"""A full look at the kernel when nothing has been heard: sets and legacy tables tell nothing."""
VERIFY_SOON_SECONDS = 1.5
GAP_SECONDS = 0.3
"""Between two looks that others' changes cause: somebody may change rules all day long."""
ASK_SERVING_SECONDS = 2.0
ASK_WAITING_SECONDS = 0.1
LOOK_SECONDS = 0.1
"""How long a pass waits for an answer; one that comes later is read by a later pass."""
WORD_SECONDS = 60.0
"""Between two lines about connections that the guard stopped."""
FAILURES = 3
"""Passes in a row that may fail before the report says so."""
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 10.0


@dataclass
class EnvoyWatch:
    """Knows whether the Envoy of the state serves."""

    held: Held | None = None
    ready: bool = False
    """What the agent says of it."""
    serving: bool = False
    silence: Silence = field(default_factory=Silence)
    question: Question | None = None
    asked: float = 0.0
    next_ask: float = 0.0

    def update(self, inputs: Inputs, now: float) -> None:
        """Hold the process that the state names, and ask it when its time has come."""
        named = inputs.state.envoy if inputs.state else None
        if self.held is not None and (self.held.envoy.pid, self.held.envoy.started) != (
            (named.pid, named.started) if named else (0, 0)
        ):
            # In a hot restart the next one takes over what this one served: its first late answer
            # must not lift the rules.
            served = self.serving and self.held.alive
            self.release()
            self.serving = served
        if self.held is None and named is not None and inputs.plan is not None:
            self.held = envoy.hold(named, inputs.plan.proxy_uid)
            self.next_ask = now
        self.ready = named is not None and named.ready
        if self.held is None or named is None or not named.ready or not self.held.alive:
            self.serving = False
        elif now >= self.next_ask and inputs.plan is not None:
            self._ask(inputs.plan.readiness_port, now)

    @property
    def seen(self) -> Serving:
        """What is known of it now."""
        alive = self.ready and self.held is not None and self.held.alive
        return Serving(alive=alive, answers=alive and self.serving)

    def release(self) -> None:
        """Let go of the process."""
        if self.held is not None:
            self.held.close()
        self._drop_question()
        self.held, self.serving, self.silence = None, False, Silence()

    def _ask(self, port: int, now: float) -> None:
        if self.question is None:
            self.question, self.asked = Question(port), now
        said = self.question.look(self.held, LOOK_SECONDS)
        worked = self.held.worker_time.seconds() if self.held is not None else None
        self.silence = self.silence.goes_on(self.asked, now, worked)
        if said:
            self.serving, self.silence = True, self.silence.ended()
        else:
            ended = self.held is None or not self.held.alive
            self.serving = self.serving and not self.silence.is_failure and not ended
        if said is None and now - self.asked < ANSWER_SECONDS:
            return  # due at once: the next pass looks again
        self._drop_question()
        self.next_ask = now + (ASK_SERVING_SECONDS if self.serving else ASK_WAITING_SECONDS)

    def _drop_question(self) -> None:
        if self.question is not None:
            self.question.close()
            self.question = None


@dataclass
class Watch:
    """The redirector's only long-running part."""

    paths: Paths
    engine: Engine
    inputs: Inputs
    envoy: EnvoyWatch = field(default_factory=EnvoyWatch)
    strays: Strays = field(init=False)
    report: Report | None = None
    stopping: bool = False
    _due: float = 0.0
    _passed: float = 0.0
    _retry: float = 0.0
    _failures: int = 0
    _last: tuple[object, ...] = ()
    _ready: bool = False
    _unsaid: int = 0
    _next_word: float = 0.0

    def __post_init__(self) -> None:
        self.strays = Strays(families.log_group(self.paths.layout.instance))

    def run(self) -> int:
        """Watch until SIGTERM or SIGINT; the rules stay. Gives the exit status."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, lambda *_: self._look_soon())
        hearing = netlink.listener()
        while not self.stopping:
            try:
                heard = self._wait(hearing)
                self.step(time.monotonic(), heard=heard)
            except HostmeshError as error:
                self._failed(error)
        for source in hearing:
            source.close()
        self.strays.close()
        self.envoy.release()
        notify.notify("STOPPING=1")
        return 0

    def step(self, now: float, *, heard: bool) -> None:
        """Do one iteration. Raises HostmeshError where a pass failed."""
        self.inputs.refresh()
        self.envoy.update(self.inputs, now)
        plan = self.inputs.plan
        if plan is None:
            if self.report is None or self.report.outcome is not Outcome.WAITING:
                self._publish(self._no_plan())
            return
        off = files.is_switched_off(self.paths.switched_off, self.paths.layout.capture_file)
        target = decide(plan, self.inputs.state, self.envoy.seen, switched_off=off)
        wanted = (plan, self.inputs.state, self.inputs.names, target, self.inputs.problems)
        if heard:
            # Our own changes are heard too: one look more, and nobody's change is missed.
            self._due = min(self._due, self._passed + GAP_SECONDS)
        if wanted == self._last and now < self._due:
            return
        self._pass(target, now, wanted)

    def _pass(self, target: Target, now: float, wanted: tuple[object, ...]) -> None:
        plan, state, table = self.inputs.plan, self.inputs.state, self.inputs.names
        if plan is None:
            raise RuntimeError("a pass without a plan")
        # Due at once unless the pass comes to its end.
        self._due = now
        endpoints = state.endpoints if state else frozenset[tuple[str, int]]()
        result = self.engine.converge(plan, target, endpoints, table.names if table else {})
        self._last, self._retry, self._passed = wanted, 0.0, now
        soon = result.silent or result.unwritten
        self._due = now + (VERIFY_SOON_SECONDS if soon else VERIFY_SECONDS)
        self._failures = 0
        self._succeeded(target, result)

    def _succeeded(self, target: Target, result: Result) -> None:
        if result.changed:
            _say(f"{target.outcome}: {result.rules} rules, {result.endpoints} addresses")
        if result.guarded:
            self.strays.listen(time.monotonic())
        report = reporting.report_of(self.inputs, target, result, time.time())
        problem = self.strays.problem if result.guarded else ""
        self._publish(replace(report, notes=(*report.notes, *filter(None, [problem]))))
        explicit = self.inputs.plan is not None and not self.inputs.plan.enabled
        if (target.outcome is Outcome.APPLIED or explicit) and not self._ready:
            self._ready = True
            notify.notify("READY=1")

    def _failed(self, error: HostmeshError) -> None:
        """Say it, and try again a little later."""
        self._retry = next_delay(
            self._retry, first=FIRST_RETRY_SECONDS, factor=2.0, limit=LONGEST_RETRY_SECONDS
        )
        _say(f"{error}; again in {self._retry:g} s")
        self._last, self._due = (), time.monotonic() + self._retry
        self._failures += 1
        # One tool that did not answer says nothing about the rules: the agent takes this host's
        # endpoints out when it reads FAILED.
        if isinstance(error, NotInForce) or self._failures >= FAILURES or self.report is None:
            try:
                self._publish(reporting.failure(self.inputs, self.report, str(error)))
            except HostmeshError as second:
                _say(str(second))
        self._rest(self._retry)

    def _rest(self, seconds: float) -> None:
        """Wait out a retry, unless Envoy ends meanwhile: that may be what makes it work."""
        held = self.envoy.held
        watched = [held.pidfd] if held is not None and held.alive else []
        until = time.monotonic() + seconds
        while not self.stopping and time.monotonic() < until:
            self._turn_strays()
            if select.select(watched, [], [], TICK_SECONDS)[0]:
                return

    def _no_plan(self) -> Report:
        problem = next(iter(self.inputs.problems), f"{self.paths.layout.capture_file} is not there")
        return Report(
            outcome=Outcome.WAITING,
            detail=f"{problem}; run `hostmesh-agent capture compile`",
            missing=self.inputs.problems,
        )

    def _publish(self, report: Report) -> None:
        report = replace(report, pid=os.getpid(), turned=self.strays.turned)
        self.report = report
        reporting.publish(self.paths.layout, report)
        notify.notify(f"STATUS={report.outcome}: {report.detail}", "WATCHDOG=1")

    def _wait(self, hearing: list[socket.socket]) -> bool:
        """Sleep a tick, or until Envoy ends or the kernel tells of a change (True)."""
        watched: list[socket.socket | int] = [*hearing, *self.strays.waiting(time.monotonic())]
        if self.envoy.held is not None and self.envoy.held.alive:
            watched.append(self.envoy.held.pidfd)
        ready, _, _ = select.select(watched, [], [], TICK_SECONDS)
        self._turn_strays()
        heard = [source for source in hearing if source in ready]
        for source in heard:
            netlink.drain(source)
        return bool(heard)

    def _turn_strays(self) -> None:
        """Help what the guard has stopped; say so, but not for each of them."""
        now = time.monotonic()
        self._unsaid += self.strays.turn(now)
        if self._unsaid and now >= self._next_word:
            _say(
                f"{self._unsaid} connections met the entry of an older one and are led in anew "
                f"({self.strays.turned} since the start)"
            )
            self._unsaid, self._next_word = 0, now + WORD_SECONDS

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _look_soon(self) -> None:
        self._due = 0.0


def _say(text: str) -> None:
    """Write one line for the journal."""
    sys.stderr.write(f"hostmesh-agent redirect: {text}\n")
    sys.stderr.flush()
