"""The agent: every service once (`app.assembly` makes them), joined here and nowhere else.

What leads to what: an identity on disk opens the streams; the streams bring workload certificates
and a generation; with both Envoy is wanted; when a worker of it answers, capture is asked for; when
the rules are verified, each service is proven and only then registered (`app.registrar`).
"""

import asyncio
import json
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path

from hostmesh_agent.app import assembly
from hostmesh_agent.app.assembly import credentials, planes
from hostmesh_agent.app.callers import CallersService, Surroundings
from hostmesh_agent.app.capture import CaptureService
from hostmesh_agent.app.confirming import Confirming
from hostmesh_agent.app.envoy import Callbacks
from hostmesh_agent.app.host import HostListeners
from hostmesh_agent.app.identity import HostCredentials, IssueResult, Listeners
from hostmesh_agent.app.orders import Orders
from hostmesh_agent.app.registrar import Registrar
from hostmesh_agent.app.relay import RelayCallbacks
from hostmesh_agent.app.reload import Reload
from hostmesh_agent.app.status import Parts, is_captured, metrics, next_waiting, status_of
from hostmesh_agent.config import ServiceConfig
from hostmesh_agent.edges import control, status_http
from hostmesh_agent.edges.identity_disk import IdentityDisk, StoredIdentity
from hostmesh_agent.edges.sd_notify import Notifier
from hostmesh_agent.logic import workloads
from hostmesh_agent.logic.relay_facts import MeshFacts
from hostmesh_agent.logic.running import Running
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput, HostmeshError
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.ids import Identity
from hostmesh_core.redirect_files import EnvoyProcess, Outcome, Report, Wanted

log = logging.getLogger("hostmesh.agent")

GOOD_SECONDS = 10.0
"""A generation with which Envoy has served this long is one to fall back to."""


class Agent:
    """One instance on one host."""

    def __init__(self, running: Running, layout: HostLayout, stored: StoredIdentity) -> None:
        self.running = running
        self._layout = layout
        self._tasks: asyncio.TaskGroup | None = None
        self._left = asyncio.Event()
        self._certified = asyncio.Event()
        self._serving = asyncio.Event()
        self._disk = IdentityDisk(Path(layout.identity_dir))
        self.identity = assembly.identity(
            self._disk, stored, request=self._request, listeners=self._identity_listeners()
        )
        self.host = assembly.host(running, self.identity, self._host_listeners())
        self.envoy = assembly.envoy(running, layout, self.identity, self._envoy_callbacks())
        # A relay with a stored generation says at once what it serves: capture must be there.
        self.capture = CaptureService(layout, self._captured)
        self.relay = assembly.relay(
            running, layout, self.identity, self._relay_callbacks(), warming=self._warming
        )
        self._confirming = Confirming(self.identity, self.host, self.relay, self.envoy)
        self.registrar = Registrar(running.config, self.host, self.identity)
        self.callers = CallersService(
            layout.callers_file, self.envoy, self.host, self._surroundings()
        )
        self._notifier = Notifier()

    # Who is told of what

    def _identity_listeners(self) -> Listeners:
        return Listeners(
            on_host_identity=self._new_host_identity,
            on_workload=lambda identity, fresh: self._new_workload(identity, fresh.facts.serial),
            on_bundles=lambda _: self.relay.set_secrets(self.identity.secrets()),
        )

    def _host_listeners(self) -> HostListeners:
        return HostListeners(
            on_welcome=self._welcomed,
            on_moved=lambda: self.relay.set_credentials(credentials(self.identity.host)),
            on_verdict=self._verdict,
            on_query=self._query,
        )

    def _envoy_callbacks(self) -> Callbacks:
        return Callbacks(
            on_running=self._envoy_serves,
            on_down=self._envoy_down,
            on_crash_loop=self._crash_loop,
        )

    def _relay_callbacks(self) -> RelayCallbacks:
        return RelayCallbacks(
            on_applied=self.host.applied,
            on_rejected=self._rejected,
            on_generation=self._generation,
            on_problem=lambda text: log.warning("%s", text),
        )

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            services=lambda: [view.config for view in self.registrar.views()],
            captured=lambda: is_captured(self._parts()),
            joined=lambda: not self._left.is_set(),
        )

    async def run(self) -> None:
        """Serve until cancelled, or until this host has left the mesh."""
        self._want()
        self.relay.set_secrets(self.identity.secrets())
        answers = status_http.Answers(
            ready=self._waiting_for, status=self._status, metrics=self._metrics
        )
        orders = Orders(self._parts, self._disk, on_left=self._left.set)
        handlers = {**orders.handlers(), **Reload(self, self._layout).handlers()}
        async with (
            control.serve(self._layout.control_socket, handlers),
            status_http.serve("127.0.0.1", self.running.config.ports.status, answers),
            asyncio.TaskGroup() as tasks,
        ):
            self._tasks = tasks
            running = [
                tasks.create_task(work)
                for work in (
                    self.identity.run(),
                    self.relay.run(),
                    self.host.run(),
                    self.envoy.run(),
                    self.capture.run(),
                    self.registrar.run(),
                    self.callers.run(),
                    self._start_envoy(),
                    self._announce(),
                )
            ]
            await self._left.wait()
            for task in running:
                task.cancel()

    async def _warming(self, epoch: int | None) -> frozenset[str] | None:
        """Give the clusters that Envoy has taken but cannot use yet; None = it did not say."""
        if epoch is not None and epoch != self.envoy.epoch:
            return None
        try:
            dump = await self.envoy.admin.config_dump(resource="dynamic_warming_clusters")
            found = json.loads(dump).get("configs", [])
            return frozenset(str(one["cluster"]["name"]) for one in found)
        except (HostmeshError, ValueError, KeyError):
            return None  # restarting, or too busy: the relay's own patience ends the wait

    # What it runs with

    def configure(self, running: Running, declared: Sequence[ServiceConfig]) -> None:
        """Run with another configuration: the one place where it changes.

        `declared` are its services, and others that are about to go.
        """
        before, self.running = self.running, running
        self._want(declared)
        self.registrar.configure(running.config, declared)
        if planes(running) != planes(before):
            self.host.set_control_planes(planes(running))
            self.relay.set_control_planes(planes(running))

    def want_certificates(self, running: Running, declared: Iterable[ServiceConfig]) -> None:
        """Ask for the certificates of a configuration that is about to be run with, too."""
        grant = self.identity.grant
        found = self._needed(self.registrar.services)
        self.identity.want({*found, *workloads.wanted(running.config, grant, declared)})

    def _want(self, declared: Iterable[ServiceConfig] = ()) -> None:
        self.identity.want(self._needed(declared))

    def _needed(self, declared: Iterable[ServiceConfig] = ()) -> set[Identity]:
        found = workloads.wanted(self.running.config, self.identity.grant, declared)
        return set(found)

    # Identity

    async def _request(self, csr_der: bytes, identity: Identity | None) -> IssueResult:
        return await self.host.request_certificate(csr_der, identity)

    def _new_host_identity(self, fresh: HostCredentials) -> None:
        self.host.set_credentials(credentials(fresh))
        self.relay.set_credentials(credentials(fresh))
        self._spawn(self._confirming.confirm(None, fresh.serial))

    def _new_workload(self, identity: Identity, serial: str) -> None:
        self.relay.set_secrets(self.identity.secrets())
        self._certified.set()
        self.registrar.look_again()
        self._spawn(self._confirming.confirm(identity, serial))

    # The control plane's words

    def _welcomed(self, welcome: pb.Welcome) -> None:
        del welcome
        self.identity.connected()
        grant = self.host.grant
        if grant is not None and grant != self.identity.grant:
            self.identity.grant_changed(grant)
            self._want(self.registrar.services)
        self.registrar.connected()

    def _verdict(self, verdict: pb.Verdict) -> None:
        self.registrar.verdict(verdict)
        self.capture.set_withheld(self.registrar.refused_ports)

    async def _query(self, kind: str, args: Mapping[str, str]) -> bytes:
        if kind == "stats":
            stats = await self.envoy.admin.stats(args.get("filter", ""))
            return "\n".join(f"{name}: {value}" for name, value in stats.items()).encode()
        raise BadInput(f"cannot answer {kind!r}: this agent knows stats")

    def _rejected(self, type_url: str, name: str, version: str, detail: str, stream: str) -> None:
        log.error("envoy refused type=%s name=%s: %s", type_url, name, detail)
        self.host.rejected(
            pb.Rejected(
                type_url=type_url, name=name, version=version, detail=detail, stream_id=stream
            )
        )

    # Envoy and capture

    def _generation(self, facts: MeshFacts) -> None:
        self.capture.set_addresses(facts.captured())
        self.capture.set_names(facts.addresses())

    async def _start_envoy(self) -> None:
        """Want Envoy as soon as there is something to serve it with."""
        await self.relay.wait_generation()
        while not self._has_certificates():
            self._certified.clear()
            await self._certified.wait()
        self.envoy.want(up=True)

    def _has_certificates(self) -> bool:
        # What the grant does not cover is refused by name; the host's other services go on.
        return self._needed() <= {*self.identity.workloads, *self.identity.refused}

    def _envoy_serves(self, epoch: int, pid: int) -> None:
        process = self.envoy.process
        started = process.started if process else 0
        self.capture.set_envoy(EnvoyProcess(epoch=epoch, pid=pid, started=started, ready=True))
        self.capture.set_wanted(Wanted.CAPTURED)
        self.registrar.envoy(serving=True)
        self._serving.set()
        self._spawn(self._mark_good(pid))

    async def _mark_good(self, pid: int) -> None:
        await asyncio.sleep(GOOD_SECONDS)
        if self.envoy.serving and self.envoy.pid == pid:
            self.relay.mark_good()

    def _envoy_down(self, reason: str) -> None:
        self.capture.set_envoy(None)
        self.registrar.envoy(serving=False, why=reason)

    def _crash_loop(self, crashes: int) -> None:
        if self.relay.fall_back():
            log.error("envoy crashed %d times: the last good generation is served", crashes)

    def _captured(self, report: Report) -> None:
        applied = report.outcome is Outcome.APPLIED
        self.registrar.capture(applied=applied, why=report.detail or "the rules are not in")

    # What people ask

    async def _announce(self) -> None:
        """Tell the service manager once Envoy serves, and that we live."""
        await self._serving.wait()
        self._notifier.ready("Envoy serves")

    def _waiting_for(self) -> str:
        return "; ".join(next_waiting(self._parts()))

    def _status(self) -> object:
        return status_of(self._parts())

    async def _metrics(self) -> str:
        return await metrics(self._parts())

    def _parts(self) -> Parts:
        return Parts(
            running=self.running,
            identity=self.identity,
            host=self.host,
            relay=self.relay,
            envoy=self.envoy,
            capture=self.capture,
            registrar=self.registrar,
            callers=self.callers,
        )

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        if self._tasks is not None:
            self._tasks.create_task(work)
        else:
            work.close()
