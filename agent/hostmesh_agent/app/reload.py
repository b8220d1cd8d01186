"""A running agent's part in `reload`: old and new side by side, then the new alone.

The command line (`app.reloading`) is root and holds the other half, the kernel rules. The steps:

    reload-check     what cannot change in a running agent is refused: nothing has changed yet
    reload-declare   certificates, declarations, Envoy's chains: of the old services and the new
                     (then root's rules for the ports of both)
    reload-prove     the new ones are proven and registered
    reload-drain     what has its successor is deregistered, and every peer has applied that
                     (then root's rules for the new ports alone)
    reload-end       what has drained is declared no longer

Each may be the last that is ever called: what runs then is whole, and the next `reload` goes on.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from hostmesh_agent.app.configuration import keep, running_of
from hostmesh_agent.app.envoy import EnvoyService
from hostmesh_agent.app.host import HostService
from hostmesh_agent.app.identity import IdentityService
from hostmesh_agent.app.registrar import Registrar, ServiceView
from hostmesh_agent.config import ServiceConfig
from hostmesh_agent.edges import control
from hostmesh_agent.edges.control import Progress
from hostmesh_agent.logic import inbound_ports, reload, workloads
from hostmesh_agent.logic.reload import Change, Settled
from hostmesh_agent.logic.running import Running
from hostmesh_core import names
from hostmesh_core.errors import BadInput, HostmeshError, Refused
from hostmesh_core.host_layout import HostLayout

ANSWER_SECONDS = 10.0
"""For certificates, a verdict, and Envoy's taking of what follows from it: each."""
PROVE_SECONDS = 20.0
"""For the proofs of new services, whose apps may be starting."""
LATE_SECONDS = 2.0
"""What every peer has applied, no peer sends. What was sent before may still be on its way through
the workers of both Envoys; where the cluster is gone by then, the answer is 503."""
POLL_SECONDS = 0.05

Call = Mapping[str, object]


class Runs(Protocol):
    """What this asks of the agent (`app.agent`)."""

    running: Running
    identity: IdentityService
    host: HostService
    envoy: EnvoyService
    registrar: Registrar

    def configure(self, running: Running, declared: tuple[ServiceConfig, ...]) -> None:
        """Run with another configuration."""

    def want_certificates(self, running: Running, declared: Iterable[ServiceConfig]) -> None:
        """Ask for the certificates of one that is about to be run with."""


class Reload:
    """The handlers of the control socket that change the configuration."""

    def __init__(self, agent: Runs, layout: HostLayout) -> None:
        self._agent = agent
        self._layout = layout
        self._turn = 0
        self._target: Running | None = None
        self._change: Change | None = None
        self._settled: Settled | None = None
        self._chained: frozenset[int] = frozenset()

    def handlers(self) -> dict[str, control.Handler]:
        """Give the handlers by verb."""
        return {
            "running": self._running,
            "reload-check": self._check,
            "reload-declare": self._declare,
            "reload-prove": self._prove,
            "reload-drain": self._drain,
            "reload-end": self._end,
        }

    async def _running(self, _: Call, __: Progress) -> object:
        """Give what runs: `leave --service` changes nothing else."""
        running = self._agent.running
        listed = sorted({service.name for service in running.config.services} | {*running.left})
        return {"file": running.file, "text": running.text, "services": listed}

    async def _check(self, call: Call, _: Progress) -> object:
        self._read(call)
        return {}

    async def _declare(self, call: Call, progress: Progress) -> object:
        target = self._read(call)
        change = reload.between(self._agent.registrar.services, target.config.services)
        self._turn += 1
        self._target, self._change, self._settled = target, change, None
        self._chained = frozenset()
        for line in change.sentences():
            progress(line)
        await self._stand(change.first)
        ready = self._captured(change.first)
        return {"changes": list(change.sentences()), "ports": ready, "refused": self._refused()}

    def _read(self, call: Call) -> Running:
        """Take the new configuration, or refuse it before anything has changed."""
        agent = self._agent
        file, text = str(call.get("file")), str(call.get("text"))
        if file != agent.running.file:
            raise BadInput(
                f"cannot reload from {file}: this agent runs with {agent.running.file}; edit that "
                "one, or start the agent with the other"
            )
        left = call.get("left")
        target = running_of(
            self._layout, file, text, frozenset(left if isinstance(left, list) else ())
        )
        fixed = reload.fixed(agent.running.config, target.config)
        if fixed:
            raise BadInput("; ".join(fixed))
        if agent.registrar.left_all:
            raise Refused(
                "cannot reload: everything of this host was deregistered (hostmesh-agent drain); "
                "start its agent again first"
            )
        if not agent.host.connected:
            raise Refused(
                "cannot reload now, nothing has changed: no control plane answers, so peers could "
                f"not be told ({agent.host.lost})"
            )
        return target

    async def _stand(self, declared: tuple[ServiceConfig, ...]) -> None:
        """Declare, certificates first, and wait until Envoy has what follows from it."""
        agent, target = self._agent, self._target
        if target is None:
            raise RuntimeError("nothing to declare")
        agent.want_certificates(target, declared)
        grant = agent.identity.grant
        needed = set(workloads.wanted(target.config, grant, declared))
        await self._until(lambda: needed <= {*agent.identity.workloads, *agent.identity.refused})
        agent.configure(target, declared)
        if not await self._until(lambda: agent.registrar.answered):
            raise Refused(
                f"cannot go on: the control plane has not answered within {ANSWER_SECONDS:.0f} s; "
                "old and new are both declared: run hostmesh-agent reload again"
            )
        await self._chains(declared)

    async def _chains(self, declared: Iterable[ServiceConfig]) -> None:
        """Wait until Envoy serves the ports, or its time is up; note what it serves.

        Where none serves, or it does not say, what it said earlier in this reload stands.
        """
        wanted = {service.port for service in declared if self._is_accepted(service)}
        loop = asyncio.get_running_loop()
        end = loop.time() + ANSWER_SECONDS
        while loop.time() < end:
            try:
                dump = await self._agent.envoy.admin.config_dump(
                    resource="dynamic_listeners", named=inbound_ports.LISTENERS
                )
            except HostmeshError:
                if not self._agent.envoy.serving:
                    return  # it may take long to return, and new ports have to wait for it
            else:
                self._chained = inbound_ports.served(dump)
                if wanted <= self._chained:
                    return
            await asyncio.sleep(POLL_SECONDS)

    async def _prove(self, _: Call, progress: Progress) -> object:
        change = self._under_way()
        await self._proven(change.wanted, progress)
        return {"unproven": self._unproven(change.wanted)}

    async def _proven(self, wanted: Collection[ServiceConfig], progress: Progress) -> None:
        registrar = self._agent.registrar
        registrar.look_again()
        told: set[str] = set()

        def done() -> bool:
            waiting = self._unproven(wanted)
            for text in waiting:
                if text not in told:
                    told.add(text)
                    progress(text)
            return not waiting

        await self._until(done, seconds=PROVE_SECONDS)

    async def _drain(self, _: Call, progress: Progress) -> object:
        change, agent = self._under_way(), self._agent
        settled = self._settled = change.settle(self._registered())
        if self._target is not None and not settled.kept:
            # From here on the new one serves: an agent that comes after this one begins with it.
            keep(self._layout, self._target)
        complete = True
        if settled.drained:
            named = [names.declaration(old.name, old.port) for old in settled.drained]
            progress(f"deregistering {', '.join(named)}; waiting until every peer has applied it")
            agent.registrar.leaving(old.key for old in settled.drained)
            turn = self._turn
            complete = await agent.host.drain(named)
            self._check_turn(turn)
            await asyncio.sleep(LATE_SECONDS)
            self._check_turn(turn)
        if set(settled.declared) != set(agent.registrar.services):
            await self._stand(settled.declared)
        kept = [
            f"{old.name} stays on port {old.port}: what is to take its place is not registered"
            for old in settled.kept
        ]
        return {
            "complete": complete,
            "kept": kept,
            "kept_ports": sorted(old.port for old in settled.kept),
            "ports": self._captured(settled.last),
        }

    async def _end(self, _: Call, __: Progress) -> object:
        self._under_way()
        target, settled = self._target, self._settled
        if target is None or settled is None:
            raise Refused("cannot end a reload that has not drained: run hostmesh-agent reload")
        self._agent.configure(target, settled.last)
        self._target = self._change = self._settled = None
        return {"left": list(target.left), "refused": self._refused()}

    # Looking

    def _under_way(self) -> Change:
        if self._change is None:
            raise Refused("cannot go on: no reload is under way; run hostmesh-agent reload")
        return self._change

    def _views(self) -> dict[ServiceConfig, ServiceView]:
        return {view.config: view for view in self._agent.registrar.views()}

    def _is_accepted(self, service: ServiceConfig) -> bool:
        view = self._views().get(service)
        return view is not None and view.verdict is not None and view.verdict.accepted

    def _registered(self) -> set[tuple[str, str, int]]:
        return {s.key for s, view in self._views().items() if view.registered}

    def _refused(self) -> list[str]:
        return [
            view.verdict.reason
            for view in self._views().values()
            if view.verdict is not None and not view.verdict.accepted
        ]

    def _unproven(self, wanted: Iterable[ServiceConfig]) -> list[str]:
        views = self._views()
        return [
            f"{service.name}:{service.port} is not registered yet: {views[service].problem}"
            for service in wanted
            if service in views and views[service].problem and self._is_accepted(service)
        ]

    def _captured(self, declared: Iterable[ServiceConfig]) -> list[int]:
        """Give the ports that may stand in capture.json.

        What Envoy serves: a rule before that leads callers nowhere. And what is refused: that is
        withheld, and led in by itself when the grant covers it.
        """
        ports = {s.port for s in declared if not s.mesh_port}
        return sorted(ports & (self._chained | self._agent.registrar.refused_ports))

    def _check_turn(self, turn: int) -> None:
        if turn != self._turn:
            raise Refused("cannot go on: another reload has begun")

    async def _until(self, holds: Callable[[], bool], *, seconds: float = ANSWER_SECONDS) -> bool:
        """Wait; False: not in time. Raises Refused where another reload has begun meanwhile."""
        turn, loop = self._turn, asyncio.get_running_loop()
        end = loop.time() + seconds
        while not holds():
            self._check_turn(turn)
            if loop.time() > end:
                return False
            await asyncio.sleep(POLL_SECONDS)
        self._check_turn(turn)
        return True
