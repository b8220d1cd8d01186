"""When an Envoy that served does so no more, though its process lives."""

from dataclasses import dataclass, field, replace

from hostmesh_core.silence import ANSWERED, Silence

MISSES = 3
"""So often in a row its workers say that they are not ready, and it does not serve."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What its workers' last answers say against it; `NO_DOUBT` after one that says ready."""

    silence: Silence = field(default=ANSWERED)
    refusals: int = 0

    def silent(self, asked: float) -> "Doubt":
        """Take in a question asked at `asked` (monotonic seconds) that found no answer."""
        return replace(self, silence=self.silence.missed(asked))

    def not_ready(self) -> "Doubt":
        """Take in an answer that says: not ready."""
        return Doubt(ANSWERED, self.refusals + 1)

    def verdict(self, now: float) -> str:
        """Say why it does not serve, or "" while it may."""
        if self.refusals >= MISSES:
            return "its workers say not ready"
        return "no worker answers" if self.silence.over(now) else ""


NO_DOUBT = Doubt()
