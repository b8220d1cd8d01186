"""When an Envoy whose process lives counts as one that does not serve. Pure.

Agent and redirector ask its workers apart and judge alike. Its end is told by the kernel at once,
so silence has to tell a hung Envoy from one on a machine without a free core, which serves on,
late: answers took over 8 s there (measured). Whoever mistakes the second for the first takes the
capture rules out: apps then call in plaintext, or cannot resolve a mesh name any more.
"""

from dataclasses import dataclass

SILENT_SECONDS = 10.0
"""Silent for this long, it does not serve."""


@dataclass(frozen=True, slots=True)
class Silence:
    """How long questions have found no answer, by the clock: a refusal comes at once."""

    since: float | None = None
    """When the first of them was asked (monotonic seconds); None while the last one was answered.
    """

    def missed(self, asked: float) -> "Silence":
        """Take in a question asked at `asked` and not answered."""
        return Silence(asked) if self.since is None else self

    def over(self, now: float) -> bool:
        """Tell whether it has lasted too long."""
        return self.since is not None and now - self.since >= SILENT_SECONDS


ANSWERED = Silence()
