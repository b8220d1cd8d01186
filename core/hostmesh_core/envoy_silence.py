"""When an Envoy whose process lives counts as one that does not serve. Pure.

An Envoy that dies is told of by its process, at once. Asking its workers serves only to find one
that hangs, and there slow must not be taken for failed: on a starved machine an answer comes late,
a refused question costs nothing and can be repeated a hundred times in a second, and taking the
rules out cuts what Envoy still carries. So the clock decides, never a count of questions, and time
in which its workers ran, or waited for a processor, tells of too much work and not of a hang: to
take names and rules out then turns slow answers into none. Agent and redirector judge alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass

SILENT_SECONDS = 10.0
"""An Envoy none of whose workers has said "ready" for so long does not serve.

A refused connection and "not ready" count no faster: the usual way to both is a drain that somebody
else ordered, and such an Envoy still carries connections. Meanwhile peers try the next instance
after the clusters' connect timeout, which is shorter, and their outlier detection ejects this one.
"""
OVERLOADED_SECONDS = 60.0
"""The same for one whose workers were busy: by then it helps nobody, or turns in a circle."""
WORKER_THREAD = "wrk:worker_"
"""How the names of Envoy's worker threads begin (`comm`)."""
ANSWER_SECONDS = 5.0
"""How long one question waits for its answer, however late; then another may do better."""
LEAST_ANSWER_SECONDS = 1.0
STEP_SECONDS = 7.0
"""The most that passes for silence between two looks: a question and a pause. A longer gap means
that it was the asking process, or the whole machine, that stood still."""


@dataclass(frozen=True, slots=True)
class Silence:
    """How long an Envoy that served has not said so; begins anew with each "ready"."""

    seconds: float = 0.0
    """Without the time in which its workers were busy."""
    whole: float = 0.0
    seen: float | None = None
    """When it was looked at last, in monotonic seconds."""
    worked: float | None = None
    """What `worked` gave for its workers at the last look; None where nobody could tell."""

    def goes_on(self, asked: float, now: float, worked: float | None = None) -> "Silence":
        """Take in that the question of `asked` has no good answer yet at `now`."""
        since = asked if self.seen is None else self.seen
        step = min(max(0.0, now - since), STEP_SECONDS)
        known = worked is not None and self.worked is not None
        busy = min(max(0.0, (worked or 0.0) - (self.worked or 0.0)), step) if known else 0.0
        return Silence(self.seconds + step - busy, self.whole + step, now, worked)

    def ended(self) -> "Silence":
        """Begin anew: what this look found was a good answer."""
        return Silence(worked=self.worked)

    def patience(self, now: float) -> float:
        """Give how long a question asked now may wait, so that the verdict comes in its time."""
        left = SILENT_SECONDS - self.goes_on(now, now).seconds
        return min(ANSWER_SECONDS, max(LEAST_ANSWER_SECONDS, left))

    @property
    def is_failure(self) -> bool:
        """Whether this is no slowness any more."""
        return self.seconds >= SILENT_SECONDS or self.whole >= OVERLOADED_SECONDS


def worked(schedstats: Iterable[str]) -> float | None:
    """Give the seconds that threads ran or waited for a processor, from their schedstat files.

    None where there is none of them that says it (proc(5): nanoseconds on a processor, nanoseconds
    waiting for one, number of turns; a kernel without that accounting has no such file).
    """
    found = None
    for text in schedstats:
        words = text.split()
        if len(words) == 3 and all(map(str.isdigit, words)):
            found = (found or 0.0) + (int(words[0]) + int(words[1])) / 1e9
    return found
