"""Capture as the rest of the agent sees it: say what is wanted, wait until the kernel has it.

The agent has no right over the kernel. It writes state.json and names.json; the redirector (root)
acts on them within capture.json and answers in report.json.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from hostmesh_agent.config import AgentConfig
from hostmesh_agent.edges import redirect_files as files
from hostmesh_agent.logic import redirect
from hostmesh_agent.logic.redirect import Users
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.ids import DEFAULT_TRUST_DOMAIN
from hostmesh_core.redirect_files import (
    EnvoyProcess,
    NameTable,
    Outcome,
    RedirectState,
    Report,
    Wanted,
)

log = logging.getLogger("hostmesh.capture")

POLL_SECONDS = 0.1
"""How often the redirector's report is looked at, and what could not be written tried again."""


def compile_capture(
    config: AgentConfig,
    layout: HostLayout,
    users: Users,
    *,
    mesh_domain: str = DEFAULT_TRUST_DOMAIN,
) -> None:
    """Write capture.json from agent.yaml; run as root, before start and on reload.

    Raises BadInput for what cannot hold, CannotWrite where the folder is not there.
    """
    plan = redirect.plan(config, users, mesh_domain=mesh_domain)
    files.write(layout.capture_file, plan.encode())


class CaptureService:
    """The agent's one hand on capture. Nothing is written before the first `set_…`.

    A new agent starts from what the last one asked for: its restart must not lift the rules of an
    Envoy that lives. What cannot be written (a full /run) is kept and tried again: the rules stay
    as they were meanwhile, and `problem` says so.
    """

    def __init__(
        self, layout: HostLayout, on_report: Callable[[Report], None] = lambda _: None
    ) -> None:
        self._layout = layout
        self._on_report = on_report
        self._reports = files.ReportFile(layout.redirector_report_file)
        self._state = files.read_state(layout.redirect_state_file) or RedirectState()
        self._names: Mapping[str, tuple[str, str]] | None = None
        self._sequence = files.last_sequences(layout.redirect_state_file, layout.names_file)
        self._written = self._state
        self._names_sequence = self._names_written = 0
        self._report: Report | None = None
        self.problem = ""
        """Why what is asked for has not been written; empty while it has."""

    @property
    def report(self) -> Report | None:
        """The redirector's last report, or None while it has not said anything."""
        return self._report

    @property
    def ports(self) -> frozenset[int] | None:
        """The ports that root lets the rules lead into Envoy; None where it has not said."""
        try:
            plan = files.read_plan(self._layout.capture_file)
        except BadInput:
            return None  # the redirector refuses it and says so in its report
        return None if plan is None else frozenset(entry.port for entry in plan.inbound)

    def set_envoy(self, envoy: EnvoyProcess | None) -> None:
        """Name the Envoy that serves, or None when there is none."""
        self._put(replace(self._state, envoy=envoy))

    def set_wanted(self, wanted: Wanted) -> None:
        """Ask for capture, for its release before Envoy goes, or for its end.

        To stop: RELEASED, `wait_removed`, end Envoy. To leave: the same, then LEFT. While RELEASED
        the virtual addresses stay until Envoy has ended, for the connections that it drains.
        """
        self._put(replace(self._state, wanted=wanted))

    def set_addresses(self, endpoints: frozenset[tuple[str, int]]) -> None:
        """Name the (address, port) of registered endpoints."""
        self._put(replace(self._state, endpoints=endpoints))

    def set_withheld(self, ports: Iterable[int]) -> None:
        """Name the declared ports that Envoy does not serve: their callers go to the app."""
        self._put(replace(self._state, withheld=frozenset(ports)))

    def set_names(self, names: Mapping[str, tuple[str, str]]) -> None:
        """Name the mesh's names with their (IPv4, IPv6) virtual addresses."""
        if self._names is not None and dict(names) == dict(self._names):
            return
        self._sequence += 1
        self._names, self._names_sequence = dict(names), self._sequence
        self._flush()

    def poll(self) -> None:
        """Look at the report once; hands it on where it changed."""
        if self.problem:
            self._flush()
        report = self._reports.read_new()
        if report is None or report == self._report:
            return
        self._report = report
        self._on_report(report)

    async def run(self) -> None:
        """Look at the report for ever: one task of the agent's."""
        while True:
            self.poll()
            await asyncio.sleep(POLL_SECONDS)

    async def wait_applied(self, timeout_seconds: float) -> bool:
        """Wait until rules and names as last asked for are in and verified; False: not in time."""
        return await self._wait(
            lambda report: (
                report.outcome is Outcome.APPLIED and report.names_sequence >= self._names_sequence
            ),
            timeout_seconds,
        )

    async def wait_removed(self, timeout_seconds: float) -> bool:
        """Wait until a release has been carried out; False if not in time.

        What is left then: rules of a closed direction, which answer with RST once Envoy is gone,
        and, while Envoy lives, those of the virtual addresses. After LEFT nothing is left.
        """
        return await self._wait(
            lambda report: report.outcome in (Outcome.REMOVED, Outcome.WAITING), timeout_seconds
        )

    async def _wait(self, holds: Callable[[Report], bool], timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    self.poll()
                    report = self._report
                    current = report and report.state_sequence >= self._state.sequence
                    if report is not None and current and holds(report):
                        return True
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return False

    def _put(self, new: RedirectState) -> None:
        """Write state.json only where it differs: each write makes the redirector look."""
        if new == self._state and self._state.sequence:
            return
        self._sequence += 1
        self._state = replace(new, sequence=self._sequence)
        self._flush()

    def _flush(self) -> None:
        """Write what has not been written yet."""
        try:
            if self._state != self._written:
                files.write(self._layout.redirect_state_file, self._state.encode())
                self._written = self._state
            if self._names is not None and self._names_sequence != self._names_written:
                table = NameTable(sequence=self._names_sequence, names=self._names)
                files.write(self._layout.names_file, table.encode())
                self._names_written = table.sequence
        except files.CannotWrite as error:
            if not self.problem:
                log.warning("%s; the rules stay as they are, trying again", error)
            self.problem = f"{error}; the rules stay as they are until it can be"
        else:
            self.problem = ""
