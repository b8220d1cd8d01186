"""Whether something starts this instance's processes again when they end.

`run --all` does. Killed, it leaves them serving, and nothing on the host would show that until one
of them ends, too.
"""

from collections.abc import Mapping
from enum import Enum, auto

from hostmesh_agent.edges import own_processes, supervisor
from hostmesh_agent.edges.own_processes import Kind
from hostmesh_core.host_layout import HostLayout

UNKEPT = (
    "`run --all` has ended: what ends from now on is not started again; run the same join again, "
    "which starts it beside what runs"
)


class Kept(Enum):
    """Who keeps the processes running."""

    NOTHING_RUNS = auto()
    BY_RUN_ALL = auto()
    BY_NOBODY = auto()
    """An earlier `run --all` started them and has ended."""
    BY_ANOTHER = auto()
    """Something else started them, or somebody whose processes we may not see."""


def look(layout: HostLayout, *, answers: bool) -> Kept:
    """Look at the processes; `answers` says whether an agent does, which may be one not seen."""
    found = own_processes.of_instance(layout)
    if any(each.kind is Kind.PARENT for each in found):
        return Kept.BY_RUN_ALL
    agents = {each.pid for each in found if each.kind is Kind.AGENT}
    if not agents:
        return Kept.BY_ANOTHER if answers else Kept.NOTHING_RUNS
    return Kept.BY_NOBODY if agents <= supervisor.recorded(layout) else Kept.BY_ANOTHER


def told(answer: object, layout: HostLayout) -> object:
    """Add to a running agent's status what only root, or the one user of it all, can see."""
    if not isinstance(answer, Mapping) or look(layout, answers=True) is not Kept.BY_NOBODY:
        return answer
    before = answer.get("warnings")
    return {**answer, "warnings": [*(before if isinstance(before, list) else []), UNKEPT]}
