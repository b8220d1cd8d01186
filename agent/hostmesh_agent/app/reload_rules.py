"""capture.json while a configuration changes: the ports of old and new, then of the new alone.

A port comes in once Envoy has a chain for it and goes when nobody is sent there any more.
"""

import time
from collections.abc import Collection, Iterable
from dataclasses import replace

from hostmesh_agent.edges import redirect_files
from hostmesh_agent.logic import redirect
from hostmesh_agent.logic.running import Running
from hostmesh_core.capture_plan import CapturePlan, InboundPort
from hostmesh_core.errors import HostmeshError, Refused
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.redirect_files import Outcome

RULES_SECONDS = 20.0
"""The redirector looks ten times a second; a busy iptables lock makes it wait."""
POLL_SECONDS = 0.05


class RulesNotChanged(HostmeshError):
    """The redirector has not taken the new capture.json in."""


class Rules:
    """Root's half of a change. Raises BadInput before anything is written."""

    def __init__(self, layout: HostLayout, target: Running) -> None:
        self._layout = layout
        self._plans: tuple[CapturePlan, CapturePlan] | None = None
        if not target.config.capture.enabled:
            return  # explicit mode: there are no rules
        old = redirect_files.read_plan(layout.capture_file)
        if old is None:
            raise Refused(
                f"cannot reload: {layout.capture_file} is not there; start the agent with: "
                "hostmesh-agent run --all"
            )
        users = redirect.Users(
            proxy_uid=old.proxy_uid, proxy_gid=old.proxy_gid, agent_uid=old.agent_uid
        )
        new = redirect.plan(target.config, users, mesh_domain=old.mesh_domain)
        self._plans = (old, new)

    def both(self, served: Collection[int]) -> None:
        """Lead in the ports of old and new. Raises RulesNotChanged, CannotWrite."""
        if self._plans is not None:
            old, new = self._plans
            both = union(old, new, served=served, keep=[p.port for p in old.inbound])
            self._put(both)
            self._plans = (both, new)

    def new(self, served: Collection[int], *, kept: Collection[int]) -> None:
        """Lead in the new ones alone, and the old ones that are `served` still or `kept`.

        What has been led in by now stays so, whatever Envoy says at this moment: peers are sent
        there. Raises RulesNotChanged, CannotWrite.
        """
        if self._plans is not None:
            old, new = self._plans
            self._put(union(old, new, served=served, keep={*served, *kept}))

    def _put(self, plan: CapturePlan) -> None:
        redirect_files.write(self._layout.capture_file, plan.encode())
        end = time.monotonic() + RULES_SECONDS
        while True:
            report = redirect_files.read_report(self._layout.redirector_report_file)
            current = report is not None and report.plan == plan.hash
            if report is not None and current and report.outcome is not Outcome.FAILED:
                return
            if time.monotonic() > end:
                why = report.detail if report is not None and current else "it has not been taken"
                raise RulesNotChanged(
                    f"cannot change the rules: {self._layout.capture_file} is written, but within "
                    f"{RULES_SECONDS:.0f} s {why}; look at: hostmesh-agent redirect status, then "
                    "run reload again"
                )
            time.sleep(POLL_SECONDS)


def union(
    old: CapturePlan, new: CapturePlan, *, served: Collection[int], keep: Iterable[int]
) -> CapturePlan:
    """Give the new plan with the ports that are `served` or were led in, and the old ones to keep.

    Where both name a port the new word about it counts.
    """
    before = {entry.port: entry for entry in old.inbound}
    found: dict[int, InboundPort] = {port: before[port] for port in keep if port in before}
    for entry in new.inbound:
        if entry.port in served or entry.port in before:
            found[entry.port] = entry
    return replace(new, inbound=tuple(sorted(found.values())))
