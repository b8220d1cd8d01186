"""Which findings stop a join, what the operator goes on with, and how both are said."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hostmesh_agent.config import AgentConfig
from hostmesh_agent.logic.findings import Code, Finding, Severity
from hostmesh_core.documents import did_you_mean
from hostmesh_core.errors import BadInput


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the operator goes on with: codes, or codes of one service."""

    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, texts: Iterable[str], config: AgentConfig) -> "Accepted":
        """Read `--accept`. Raises BadInput."""
        names = frozenset(texts)
        services = {service.name for service in config.services}
        for text in sorted(names):
            code, _, service = text.partition(":")
            if code not in Code.__members__.values():
                hint = did_you_mean(code, [str(each) for each in Code])
                raise BadInput(f"cannot accept {text!r}: no finding is called {code!r}{hint}")
            if service and service not in services:
                hint = did_you_mean(service, services)
                raise BadInput(
                    f"cannot accept {text!r}: agent.yaml has no service {service!r}{hint}"
                )
        return cls(names)

    def holds(self, finding: Finding) -> bool:
        """Tell whether the operator said that he goes on with it."""
        return finding.code in self.names or finding.name in self.names


def stopping(findings: Iterable[Finding], accepted: Accepted) -> list[Finding]:
    """Give what stops a join."""
    stops = (each for each in findings if each.severity is Severity.STOPS)
    return [each for each in stops if not accepted.holds(each)]


def lines(finding: Finding) -> tuple[str, str]:
    """Give the two lines that a person reads."""
    return f"{finding.severity} {finding.name}: {finding.text}", f"cure: {finding.cure}"


def check(findings: Iterable[Finding], accepted: Accepted, *, command: str, unchanged: str) -> None:
    """Raise BadInput at what stops a command; `unchanged` says what it has left as it was."""
    if stops := stopping(findings, accepted):
        raise BadInput(_refusal(stops, command, unchanged))


def _refusal(stops: Sequence[Finding], command: str, unchanged: str) -> str:
    told = "\n".join(f"  {line}" for each in stops for line in lines(each))
    names = " ".join(f"--accept {each.name}" for each in stops)
    return (
        f"cannot {command} without breaking callers; {unchanged}:\n"
        f"{told}\ncure it, or go on all the same with {names}"
    )
