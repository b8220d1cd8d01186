"""Makes report.json from what a pass found. Pure but for the write."""

from dataclasses import replace

from hostmesh_agent.redirector import files
from hostmesh_agent.redirector.engine import Result
from hostmesh_agent.redirector.inputs import Inputs
from hostmesh_agent.redirector.target import Target
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.redirect_files import Outcome, Report

_WORDS = {
    Outcome.APPLIED: "all rules are in and verified",
    Outcome.REMOVED: "no rule is installed",
    Outcome.WAITING: "waiting for an Envoy that serves",
    Outcome.FAILED: "",
}


def report_of(inputs: Inputs, target: Target, result: Result, now: float) -> Report:
    """Give the report of a pass that succeeded; `now` in seconds since the epoch."""
    detail = _WORDS[target.outcome]
    if target.outcome is Outcome.WAITING:
        kept = [n for n, on in (("inbound", target.inbound), ("outbound", target.outbound)) if on]
        detail += (
            f"; in force meanwhile: {' and '.join(kept)}" if kept else "; no rule is installed"
        )
    return Report(
        outcome=target.outcome,
        plan=inputs.written_plan.hash if inputs.written_plan else "",
        state_sequence=inputs.state.sequence if inputs.state else 0,
        names_sequence=inputs.names.sequence if inputs.names and not result.unwritten else 0,
        inbound=target.inbound,
        outbound=target.outbound,
        verified_at=now,
        detail=detail,
        rules=result.rules,
        routes=result.routes,
        endpoints=result.endpoints,
        names=result.names,
        guarded=tuple(sorted(family.value for family in result.guarded)),
        missing=(*inputs.problems, *([result.unwritten] if result.unwritten else [])),
        notes=result.notes[:1000],
        never_ports=tuple(sorted(result.never.inbound)),
    )


def failure(inputs: Inputs, last: Report | None, text: str) -> Report:
    """Give the report of a pass that failed: what the last look found, and the sentence."""
    base = last or Report(outcome=Outcome.FAILED)
    return replace(
        base,
        outcome=Outcome.FAILED,
        detail=text[:4000],
        plan=inputs.written_plan.hash if inputs.written_plan else "",
        missing=inputs.problems,
    )


def publish(layout: HostLayout, report: Report) -> None:
    """Put the report where the agent and `status` read it. Raises CannotUseFile."""
    files.write(layout.redirector_report_file, report.encode(), mode=0o644)
