"""Reads capture.json, state.json and names.json, and keeps the last good one of each.

A file that cannot be used changes nothing: what was in force stays, and the report says so.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from hostmesh_agent.redirector import files
from hostmesh_core.capture_plan import CapturePlan, OnDown
from hostmesh_core.errors import BadInput, HostmeshError
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.redirect_files import NameTable, RedirectState

T = TypeVar("T")


@dataclass
class Watched(Generic[T]):
    """One file and its last good content."""

    path: str
    decode: Callable[[bytes, str], T]
    value: T | None = None
    problem: str = ""
    _stamp: object = field(default=None, repr=False)

    def refresh(self) -> bool:
        """Read the file if it was replaced; True where that changed anything."""
        stamp = files.stamp(self.path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            found = files.parsed(self.path, lambda data: self.decode(data, self.path))
        except HostmeshError as error:
            changed = self.problem != str(error)
            self.problem = str(error)
            return changed
        changed = found != self.value or self.problem != ""
        self.value, self.problem = found, ""
        return changed


def _plan(data: bytes, where: str, instance: str) -> CapturePlan:
    plan = CapturePlan.decode(data, where=where)
    if plan.instance != instance:
        raise BadInput(f"cannot use {where}: it is about instance {plan.instance}, not {instance}")
    return plan


class Inputs:
    """The three files of one instance."""

    def __init__(self, layout: HostLayout) -> None:
        """Nothing is read before `refresh`."""
        self._plan = Watched[CapturePlan](
            layout.capture_file, lambda data, where: _plan(data, where, layout.instance)
        )
        self._state = Watched[RedirectState](
            layout.redirect_state_file, lambda data, where: RedirectState.decode(data, where=where)
        )
        self._names = Watched[NameTable](
            layout.names_file, lambda data, where: NameTable.decode(data, where=where)
        )

    def refresh(self) -> bool:
        """Read what was replaced; True where anything changed."""
        return any([self._plan.refresh(), self._state.refresh(), self._names.refresh()])

    @property
    def written_plan(self) -> CapturePlan | None:
        """What root says; None while `capture compile` has not run."""
        return self._plan.value

    @property
    def plan(self) -> CapturePlan | None:
        """What root says, less the ports that the agent withholds where that direction is open."""
        plan, state = self._plan.value, self._state.value
        if plan is None or state is None or plan.on_down_inbound is OnDown.CLOSED:
            return plan
        kept = tuple(entry for entry in plan.inbound if entry.port not in state.withheld)
        return replace(plan, inbound=kept)

    @property
    def state(self) -> RedirectState | None:
        """What the agent says; None while it has said nothing."""
        return self._state.value

    @property
    def names(self) -> NameTable | None:
        """The agent's names; None while it has said nothing."""
        return self._names.value

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each file that cannot be used."""
        return tuple(w.problem for w in (self._plan, self._state, self._names) if w.problem)
