"""`hostmesh-agent redirect …`: arguments in, one pass or the watch, an exit status out.

Exit status: 0 done, 1 not (what and why is said), 2 the command or a file was wrong, 3 `remove`
took everything out and had no room to note it.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from hostmesh_agent.redirector import envoy, files, reporting, show, status
from hostmesh_agent.redirector.engine import Engine, Result
from hostmesh_agent.redirector.families import Family
from hostmesh_agent.redirector.inputs import Inputs
from hostmesh_agent.redirector.paths import Paths
from hostmesh_agent.redirector.target import SERVING, Serving, Target, decide
from hostmesh_agent.redirector.watch import Watch
from hostmesh_core import instances, own_commands
from hostmesh_core.capture_plan import FILE_LIMIT, CapturePlan
from hostmesh_core.errors import BadInput, HostmeshError
from hostmesh_core.host_layout import DEFAULT_INSTANCE, HostLayout
from hostmesh_core.redirect_files import (
    REMOVED_UNNOTED,
    Outcome,
    RedirectState,
    Report,
    Wanted,
)

_EXAMPLES = """examples:
  hostmesh-agent redirect show                 what would be installed; touches nothing
  hostmesh-agent redirect apply                put it in now, if Envoy serves
  hostmesh-agent redirect apply --early        only what has to hold before Envoy runs
  hostmesh-agent redirect status --output json
  hostmesh-agent redirect remove               take everything out, until the next apply
  hostmesh-agent redirect watch                keep it in place (what the service runs)
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    options = _parser().parse_args(sys.argv[2:] if argv is None else argv)
    try:
        sys.exit(_run(options))
    except HostmeshError as error:
        sys.stderr.write(own_commands.of_instance(f"{error}\n", options.instance))
        sys.exit(2 if isinstance(error, BadInput) else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hostmesh-agent redirect",
        description="Leads this host's traffic into Envoy, and back. Needs root.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("apply", "put the rules in, verified, and the names"),
        ("remove", "take everything of this instance out"),
        ("status", "what is in force, looked up now"),
        ("show", "print what would be installed"),
        ("foresee", "read a capture.json from stdin; what would this host's firewall make of it"),
        ("watch", "apply when Envoy serves, put back what is lost, remove when asked"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--instance", default=DEFAULT_INSTANCE, metavar="NAME")
        if name in ("status", "show"):
            command.add_argument("--output", choices=("text", "json"), default="text")
        if name in ("apply", "show"):
            when = command.add_mutually_exclusive_group()
            when.add_argument(
                "--early", action="store_true", help="as at boot: only directions that are closed"
            )
            when.add_argument(
                "--assume-ready", action="store_true", help="as if Envoy served; it is not asked"
            )
        if name == "remove":
            how = command.add_mutually_exclusive_group()
            how.add_argument(
                "--keep-closed",
                action="store_true",
                help="what a stop does: directions with on_envoy_down: closed stay, and nothing "
                "keeps a watch from applying again",
            )
            how.add_argument(
                "--draining",
                action="store_true",
                help="what a stop does before Envoy ends: as --keep-closed, and virtual addresses "
                "stay while Envoy lives, for the connections that it carries",
            )
    return parser


def _run(options: argparse.Namespace) -> int:
    paths = Paths(HostLayout(instances.checked(options.instance)))
    if options.command != "show" and os.geteuid() != 0:
        raise HostmeshError(f"cannot run redirect {options.command}: it needs root")
    match options.command:
        case "apply":
            return _apply(paths, early=options.early, assume=options.assume_ready)
        case "remove":
            stop = options.keep_closed or options.draining
            there = _is_there(paths)
            return _remove(paths, keep_closed=stop, draining=options.draining) if there else 0
        case "status":
            return _status(paths, options.output)
        case "foresee":
            return _foresee(paths)
        case "show":
            return _show(paths, options.output, early=options.early)
        case _:
            return Watch(paths, Engine(paths), Inputs(paths.layout)).run()


def _is_there(paths: Paths) -> bool:
    """Tell, and say, whether there is such an instance: a typo must not look like a removal."""
    places = (paths.layout.state_dir, paths.layout.run_dir)
    if any(map(os.path.lexists, places)) or Engine(paths).is_anything():
        return True
    sys.stdout.write(f"nothing of instance {paths.layout.instance} is on this host\n")
    return False


def _read(paths: Paths) -> tuple[Inputs, CapturePlan]:
    """Read the inputs; every one of them has to be good for a command. Raises BadInput."""
    inputs = Inputs(paths.layout)
    inputs.refresh()
    if inputs.problems:
        raise BadInput("\n".join(inputs.problems))
    if inputs.plan is None:
        raise HostmeshError(
            f"cannot apply: {paths.layout.capture_file} is not there; run "
            "`hostmesh-agent capture compile` first"
        )
    return inputs, inputs.plan


def _target(inputs: Inputs, plan: CapturePlan, *, early: bool, assume: bool) -> Target:
    if early:
        return decide(plan, None, Serving())
    if assume:
        state = RedirectState(wanted=Wanted.CAPTURED)
        return decide(plan, state, SERVING)
    named = inputs.state.envoy if inputs.state else None
    held = envoy.hold(named, plan.proxy_uid) if named and named.ready else None
    answers = held is not None and envoy.answers(plan.readiness_port, held)
    return decide(plan, inputs.state, Serving(alive=held is not None, answers=answers))


def _apply(paths: Paths, *, early: bool, assume: bool) -> int:
    inputs, plan = _read(paths)
    files.remove(paths.switched_off)
    target = _target(inputs, plan, early=early, assume=assume)
    endpoints = inputs.state.endpoints if inputs.state else frozenset[tuple[str, int]]()
    table = inputs.names.names if inputs.names else {}
    try:
        result = Engine(paths).converge(plan, target, endpoints, table)
    except HostmeshError as error:
        reporting.publish(paths.layout, reporting.failure(inputs, None, str(error)))
        raise
    report = reporting.report_of(inputs, target, result, time.time())
    reporting.publish(paths.layout, report)
    sys.stdout.write(f"{report.outcome}: {report.detail} ({result.rules} rules)\n")
    for note in result.notes:
        sys.stdout.write(f"  {note}\n")
    return 0 if early or report.outcome in (Outcome.APPLIED, Outcome.REMOVED) else 1


def _remove(paths: Paths, *, keep_closed: bool, draining: bool) -> int:
    inputs = Inputs(paths.layout)
    inputs.refresh()
    unwritten: list[str] = []
    noted = True
    if keep_closed and inputs.plan is not None:
        target, result = _release(paths, inputs, inputs.plan, draining=draining)
    else:
        # First, or a watch would put them in again between the removal and this.
        noted = _attempt(
            lambda: files.switch_off(paths.switched_off, paths.layout.capture_file), unwritten
        )
        target, result = Target(), Engine(paths).remove()
    report = reporting.report_of(inputs, target, result, time.time())
    _attempt(lambda: reporting.publish(paths.layout, report), unwritten)
    sys.stdout.write(f"{report.outcome}: {report.detail}\n")
    for each in unwritten:
        sys.stderr.write(f"{each}; the rules were removed all the same\n")
    if noted:
        return 0
    sys.stderr.write(
        "a `redirect watch` that runs puts them in again: end it, or make room first\n"
    )
    return REMOVED_UNNOTED


def _attempt(write: Callable[[], None], unwritten: list[str]) -> bool:
    """Write a note of what is done, or add why not: a full disk must not keep the rules in."""
    try:
        write()
    except files.CannotUseFile as error:
        unwritten.append(str(error))
        return False
    return True


def _release(
    paths: Paths, inputs: Inputs, plan: CapturePlan, *, draining: bool
) -> tuple[Target, Result]:
    """Give back what a stop gives back, whether or not the agent has asked for it."""
    asked = inputs.state or RedirectState()
    # A host that has left keeps nothing, closed or not.
    left = asked.wanted is Wanted.LEFT
    released = replace(asked, wanted=Wanted.LEFT if left else Wanted.RELEASED)
    named = asked.envoy if draining else None
    lives = named is not None and named.ready and envoy.hold(named, plan.proxy_uid) is not None
    off = files.is_switched_off(paths.switched_off, paths.layout.capture_file)
    target = decide(plan, released, Serving(alive=lives), switched_off=off)
    table = inputs.names.names if inputs.names else {}
    return target, Engine(paths).converge(plan, target, released.endpoints, table)


def _status(paths: Paths, output: str) -> int:
    report = status.last_report(paths.layout)
    engine = Engine(paths)
    differences, rules = _now(paths, engine, report)
    found = status.Status(
        report=report or Report(outcome=Outcome.REMOVED, detail="nothing was ever applied"),
        differences=tuple(differences),
        age_seconds=max(0.0, time.time() - report.verified_at) if report else 0.0,
        now_rules=rules,
    )
    sys.stdout.write(
        json.dumps(found.as_value(), indent=2) + "\n" if output == "json" else found.as_text()
    )
    return 0 if found.good else 1


def _now(paths: Paths, engine: Engine, report: Report | None) -> tuple[list[str], int]:
    """Compare the kernel with what the report says is in force."""
    inputs = Inputs(paths.layout)
    inputs.refresh()
    if report is None or inputs.plan is None:
        target, plan = Target(), inputs.plan
    else:
        plan = inputs.plan
        served = report.outcome is Outcome.APPLIED
        off = files.is_switched_off(paths.switched_off, paths.layout.capture_file)
        seen = Serving(alive=report.outbound, answers=served)
        target = decide(plan, inputs.state, seen, switched_off=off)
        if served and target.outcome is not Outcome.APPLIED:
            target = decide(plan, RedirectState(wanted=Wanted.CAPTURED), SERVING)
    endpoints = inputs.state.endpoints if inputs.state else frozenset[tuple[str, int]]()
    guarded = frozenset(map(Family, report.guarded)) if report else frozenset(Family)
    return engine.differences(plan, target, endpoints, guarded=guarded)


def _foresee(paths: Paths) -> int:
    """Print the ports whose fate would change: `{"8080": "why"}`. Nothing is touched."""
    plan = CapturePlan.decode(sys.stdin.buffer.read(FILE_LIMIT + 1), where="stdin")
    sys.stdout.write(json.dumps(Engine(paths).foreseen(plan)) + "\n")
    return 0


def _show(paths: Paths, output: str, *, early: bool) -> int:
    inputs, plan = _read(paths)
    target = _target(inputs, plan, early=early, assume=not early)
    endpoints = inputs.state.endpoints if inputs.state else frozenset[tuple[str, int]]()
    table = inputs.names.names if inputs.names else {}
    desired = Engine(paths).preview(plan, target, endpoints)
    if output == "json":
        value = show.as_value(plan, target, desired, table)
        sys.stdout.write(json.dumps(value, indent=2) + "\n")
    else:
        sys.stdout.write(show.as_text(plan, target, desired, table))
    return 0
