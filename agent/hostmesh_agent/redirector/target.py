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
    refuse_virtual: bool = False
    """Virtual addresses are unreachable at once: names still lead there, and no rule does."""
    names: NameScope = NameScope.NONE
    outcome: Outcome = Outcome.REMOVED
    """What the report says once this is in force."""

    @property
    def anything(self) -> bool:
        """Whether any rule is wanted."""
        return self.inbound or self.outbound


@dataclass(frozen=True, slots=True)
class Serving:
    """What the redirector itself sees of the Envoy that the state names."""

    alive: bool = False
    """The process is there, and was seen to serve by the agent."""
    answers: bool = False
    """Its workers answer on the readiness listener."""


SERVING = Serving(alive=True, answers=True)


def decide(
    plan: CapturePlan,
    state: RedirectState | None,
    envoy: Serving,
    *,
    switched_off: bool = False,
) -> Target:
    """Decide from the plan, the agent's word (None: it has said nothing) and Envoy's state.

    `switched_off`: an operator ran `redirect remove`, which holds until `redirect apply`.
    """
    wanted = Wanted.CAPTURED if state is None else state.wanted
    if not plan.enabled or switched_off or wanted is Wanted.LEFT:
        return Target()
    if wanted is Wanted.CAPTURED and envoy.answers:
        return Target(
            inbound=bool(plan.inbound),
            outbound=True,
            endpoints=True,
            names=_all_names(plan),
            outcome=Outcome.APPLIED,
        )
    if wanted is Wanted.RELEASED and envoy.alive:
        return _draining(plan)
    return _without_envoy(plan, state, wanted)


def _draining(plan: CapturePlan) -> Target:
    """Keep the virtual addresses until Envoy has gone: nothing but it can serve them.

    Without their route the connections that it still carries would break at once. Real addresses
    and ports need no rule for what is established, and their new connections go their own way.
    """
    return Target(
        inbound=plan.on_down_inbound is OnDown.CLOSED and bool(plan.inbound),
        outbound=True,
        endpoints=plan.on_down_outbound is OnDown.CLOSED,
        names=_all_names(plan),
        outcome=Outcome.WAITING,
    )


def _without_envoy(plan: CapturePlan, state: RedirectState | None, wanted: Wanted) -> Target:
    """Keep closed directions: their rules answer with RST, for nobody listens behind them."""
    inbound = plan.on_down_inbound is OnDown.CLOSED and bool(plan.inbound)
    outbound = plan.on_down_outbound is OnDown.CLOSED
    waiting = inbound or outbound or wanted is Wanted.CAPTURED
    restarting = state is not None and wanted is Wanted.CAPTURED
    # Names that others answer are given back while no rule serves them; the mesh's own stay.
    names = NameScope.MESH if restarting else NameScope.NONE
    if plan.dns is DnsBlock.OFF:
        names = NameScope.NONE
    return Target(
        inbound=inbound,
        outbound=outbound,
        endpoints=outbound and state is not None,
        # Without a route of ours they would leave by the default route and hang there.
        refuse_virtual=restarting and not outbound,
        names=_all_names(plan) if outbound else names,
        outcome=Outcome.WAITING if waiting else Outcome.REMOVED,
    )


def _all_names(plan: CapturePlan) -> NameScope:
    return NameScope.ALL if plan.dns is DnsBlock.HOSTS else NameScope.NONE
