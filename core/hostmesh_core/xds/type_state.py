"""What a server keeps of one type on one stream, whichever variant of the protocol it speaks."""

from dataclasses import dataclass, field

from hostmesh_core.xds.reports import Nacked, TypeStatus
from hostmesh_core.xds.subscription import Subscription


@dataclass(slots=True)
class TypeState:
    """What was asked for, sent, accepted and refused."""

    type_url: str
    subscription: Subscription = field(default_factory=Subscription)
    quarantine: dict[str, str] = field(default_factory=dict)
    """Name → the version that the client refused and is not sent again."""
    count: int = 0
    """How many responses were sent; the version of the last one."""
    acked: str = ""
    nacked: Nacked | None = None

    def status(self) -> TypeStatus:
        """Tell where the type stands."""
        return TypeStatus(
            self.type_url,
            self.subscription.wildcard,
            len(self.subscription.names),
            str(self.count or ""),
            self.acked,
            self.nacked,
            tuple(sorted(self.quarantine)),
        )
