"""`redirect status`: the last report, set beside a fresh look at the kernel."""

from dataclasses import asdict, dataclass

from hostmesh_agent.redirector.files import parsed
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.redirect_files import Outcome, Report

STALE_SECONDS = 15.0
"""A watcher verifies every few seconds: an older report has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What `status` answers."""

    report: Report
    differences: tuple[str, ...]
    """What the kernel lacks of what the report says, one sentence each; looked up now."""
    age_seconds: float
    now_rules: int

    @property
    def good(self) -> bool:
        """Whether everything is as it should be and somebody watches it."""
        settled = self.report.outcome in (Outcome.APPLIED, Outcome.REMOVED)
        return settled and not self.differences

    def as_value(self) -> dict[str, object]:
        """Give it for `--output json`."""
        return asdict(self.report) | {
            "outcome": self.report.outcome.value,
            "good": self.good,
            "watched": self.watched,
            "age_seconds": round(self.age_seconds, 1),
            "differences": list(self.differences),
            "rules_now": self.now_rules,
        }

    @property
    def watched(self) -> bool:
        """Whether a watcher has looked lately."""
        return self.report.pid != 0 and self.age_seconds < STALE_SECONDS

    def as_text(self) -> str:
        """Give it for people: what is up, what is not and why, what to do."""
        report = self.report
        directions = ", ".join(
            f"{name} {'in' if on else 'out'}"
            for name, on in (("inbound", report.inbound), ("outbound", report.outbound))
        )
        lines = [
            f"{report.outcome}: {report.detail}",
            f"  rules      {self.now_rules} in the kernel now ({directions})",
            f"  routes     {report.routes}",
            f"  endpoints  {report.endpoints}",
            f"  names      {report.names} in /etc/hosts",
            f"  guard      {_guard(report)}",
            f"  ssh        never captured: {', '.join(map(str, report.never_ports)) or 'unknown'}",
        ]
        if not self.watched:
            lines.append("  watched    no: nobody puts back what is lost; start `redirect watch`")
        else:
            lines.append(f"  watched    by pid {report.pid}, {self.age_seconds:.1f} s ago")
        lines += [f"  missing    {text}" for text in (*report.missing, *self.differences)]
        lines += [f"  note       {text}" for text in report.notes]
        return "\n".join([*lines, ""])


def _guard(report: Report) -> str:
    where = " and ".join(f"IPv{version}" for version in report.guarded)
    anew = f"{report.turned} connections that met an older one's entry were led in anew"
    return f"in for {where}; {anew}" if where else "out"


def last_report(layout: HostLayout) -> Report | None:
    """Give the last report. Raises CannotUseFile, BadInput."""
    path = layout.redirector_report_file
    return parsed(path, lambda data: Report.decode(data, where=path))
