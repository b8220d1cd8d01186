"""What differs between two records of one service, in the words of the log and of the audit."""

from dataclasses import dataclass

from hostmesh_controlplane.logic.service_state import Mark, ServiceRecord


@dataclass(frozen=True, slots=True)
class RecordChange:
    """One thing that is stored of a service, before and after."""

    what: str
    before: str
    after: str
    by: str = ""
    """Who set it; empty where it follows from what else happened."""

    def __str__(self) -> str:
        """Give it as the audit has it."""
        return f"{self.what} {self.before} -> {self.after}"


def changes(before: ServiceRecord, after: ServiceRecord) -> tuple[RecordChange, ...]:
    """Give what an operator or the mesh itself has changed, the parts that stay left out."""
    every = (
        RecordChange("state", before.state, after.state, after.state_set.by),
        RecordChange("inbound", _inbound(before), _inbound(after), after.inbound_set.by),
        RecordChange("unmeshed_cidrs", _cidrs(before), _cidrs(after), _set_now(before, after)),
        RecordChange("weight_limit", str(before.weight_limit), str(after.weight_limit)),
    )
    return tuple(one for one in every if one.before != one.after)


def _inbound(record: ServiceRecord) -> str:
    return record.inbound.value if record.inbound else "as the mesh"


def _cidrs(record: ServiceRecord) -> str:
    return ",".join(record.unmeshed_cidrs) or "all"


def _set_now(before: ServiceRecord, after: ServiceRecord) -> str:
    """Networks have no mark of their own: whoever set the state set them, if anybody did."""
    mark: Mark = after.state_set
    return mark.by if mark != before.state_set else ""
