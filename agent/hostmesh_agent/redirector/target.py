"""What should be in force now: plan, state and Envoy in, directions out. Pure.

The one place that knows `on_envoy_down` (DESIGN 10).
"""

from dataclasses import dataclass
from enum import Enum, auto

from hostmesh_core.capture_plan import CapturePlan, DnsBlock, OnDown
from hostmesh_core.redirect_files import Outcome, RedirectState, Wanted


class NameScope(Enum):
    """Which names the managed block may hold."""

    NONE = auto()
    MESH = auto()
    """Only the mesh domain: names that nothing else answers."""
    ALL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What should be in force."""

    inbound: bool = False
    outbound: bool = False
    """The virtual addresses' rule and route."""
    endpoints: bool = False
    """The rule for real addresses of registered endpoints."""
    names: NameScope = NameScope.NONE
    outcome: Outcome = Outcome.REMOVED
    """What the report says once this is in force."""

    @property
    def anything(self) -> bool:
        """Whether any rule is wanted."""
        return self.inbound or self.outbound


def decide(
    plan: CapturePlan, state: RedirectState | None, *, serving: bool, switched_off: bool = False
) -> Target:
    """Decide from the plan, the agent's word (None: it has said nothing) and Envoy's state.

    `serving`: the Envoy that the state names lives and answers. `switched_off`: an operator ran
    `redirect remove`, which holds until `redirect apply`.
    """
    wanted = Wanted.CAPTURED if state is None else state.wanted
    if not plan.enabled or switched_off or wanted is Wanted.LEFT:
        return Target()
    if wanted is Wanted.CAPTURED and serving:
        names = NameScope.ALL if plan.dns is DnsBlock.HOSTS else NameScope.NONE
        return Target(
            inbound=bool(plan.inbound),
            outbound=True,
            endpoints=True,
            names=names,
            outcome=Outcome.APPLIED,
        )
    return _without_envoy(plan, state, wanted)


def _without_envoy(plan: CapturePlan, state: RedirectState | None, wanted: Wanted) -> Target:
    """Keep closed directions: their rules answer with RST, for nobody listens behind them."""
    inbound = plan.on_down_inbound is OnDown.CLOSED and bool(plan.inbound)
    outbound = plan.on_down_outbound is OnDown.CLOSED
    waiting = inbound or outbound or wanted is Wanted.CAPTURED
    return Target(
        inbound=inbound,
        outbound=outbound,
        endpoints=outbound and state is not None,
        names=_names_without_envoy(plan, wanted, outbound=outbound),
        outcome=Outcome.WAITING if waiting else Outcome.REMOVED,
    )


def _names_without_envoy(plan: CapturePlan, wanted: Wanted, *, outbound: bool) -> NameScope:
    """Give back names that others answer; keep the mesh's own while Envoy is only restarting."""
    if plan.dns is DnsBlock.OFF:
        return NameScope.NONE
    if outbound:
        return NameScope.ALL
    return NameScope.MESH if wanted is Wanted.CAPTURED else NameScope.NONE
