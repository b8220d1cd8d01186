"""The agent, assembled: every service made once, joined here and nowhere else.

What leads to what: an identity on disk opens the streams; the streams bring workload certificates
and a generation; with both Envoy is wanted; when a worker of it answers, capture is asked for; when
the rules are verified, each service is proven and only then registered (`app.registrar`).
"""

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping
from importlib.metadata import version
from pathlib import Path

from envoy.config.core.v3.base_pb2 import Node as XdsNode

from hostmesh_agent.app.capture import CaptureService
from hostmesh_agent.app.configuration import read_config
from hostmesh_agent.app.envoy import Callbacks, EnvoyService, Node
from hostmesh_agent.app.host import AgentFacts, HostListeners, HostService
from hostmesh_agent.app.identity import HostCredentials, IdentityService, IssueResult, Listeners
from hostmesh_agent.app.registrar import Registrar
from hostmesh_agent.app.relay import RelayCallbacks, RelayPaths, RelayService
from hostmesh_agent.app.status import Parts, metrics, next_waiting, status_of
from hostmesh_agent.config import AgentConfig
from hostmesh_agent.edges import control, status_http
from hostmesh_agent.edges.bootstrap_disk import can_bind_ipv6
from hostmesh_agent.edges.clock import SystemClock
from hostmesh_agent.edges.entropy import SystemEntropy
from hostmesh_agent.edges.identity_disk import IdentityDisk, StoredIdentity
from hostmesh_agent.edges.sd_notify import Notifier
from hostmesh_agent.edges.xds_upstream import Credentials
from hostmesh_agent.logic import workloads
from hostmesh_agent.logic.relay_facts import MeshFacts
from hostmesh_core import exit_status, names
from hostmesh_core._pb import host_pb2 as pb
from hostmesh_core.errors import BadInput, HostmeshError, Refused
from hostmesh_core.host_layout import HostLayout
from hostmesh_core.ids import Identity
from hostmesh_core.redirect_files import EnvoyProcess, Outcome, Report, Wanted

log = logging.getLogger("hostmesh.agent")

GOOD_SECONDS = 10.0
"""A generation with which Envoy has served this long is one to fall back to."""
CONFIRM_SECONDS = 5.0
"""How long a pushed certificate may take to be seen in Envoy; then the old key stays one more."""


class Agent:
    """One instance on one host."""

    def __init__(self, config: AgentConfig, layout: HostLayout, stored: StoredIdentity) -> None:
        self._config = config
        self._layout = layout
        clock, entropy = SystemClock(), SystemEntropy()
        planes = [str(address) for address in config.control_planes]
        self._tasks: asyncio.TaskGroup | None = None
        self._left = asyncio.Event()
        self._certified = asyncio.Event()
        self._serving = asyncio.Event()
        self._disk = IdentityDisk(Path(layout.identity_dir))
        self.identity = IdentityService(
            self._disk,
            stored,
            request=self._request,
            clock=clock,
            jitter=entropy.jitter,
            listeners=Listeners(
                on_host_identity=self._new_host_identity,
                on_workload=lambda identity, fresh: self._new_workload(
                    identity, fresh.facts.serial
                ),
                on_bundles=lambda _: self.relay.set_secrets(self.identity.secrets()),
            ),
        )
        credentials = _credentials(self.identity.host)
        self.host = HostService(
            planes,
            credentials,
            facts=AgentFacts(agent_version=version("hostmesh"), hostname=socket.gethostname()),
            clock=clock,
            entropy=entropy,
            listeners=HostListeners(
                on_welcome=self._welcomed, on_verdict=self._verdict, on_query=self._query
            ),
        )
        self.envoy = EnvoyService(
            config,
            layout,
            Node(id=stored.membership.host_id, agent_version=version("hostmesh")),
            Callbacks(
                on_running=self._envoy_serves,
                on_down=self._envoy_down,
                on_crash_loop=self._crash_loop,
            ),
        )
        # A relay with a stored generation says at once what it serves: capture must be there.
        self.capture = CaptureService(layout, self._captured)
        self.relay = RelayService(
            RelayPaths(xds_dir=layout.xds_dir, xds_socket=layout.xds_socket),
            control_planes=planes,
            node=_node(stored.membership.host_id),
            callbacks=RelayCallbacks(
                on_applied=self.host.applied,
                on_rejected=self._rejected,
                on_generation=self._generation,
                on_problem=lambda text: log.warning("%s", text),
            ),
            warming=self._warming,
        )
        self.relay.set_credentials(credentials)
        self.registrar = Registrar(config, self.host, self.identity)
        self._notifier = Notifier()

    async def run(self) -> None:
        """Serve until cancelled, or until this host has left the mesh."""
        self.identity.want(workloads.wanted(self._config, self.identity.grant))
        self.relay.set_secrets(self.identity.secrets())
        answers = status_http.Answers(
            ready=self._waiting_for, status=self._status, metrics=self._metrics
        )
        handlers: Mapping[str, control.Handler] = {
            "status": self._on_status,
            "leave": self._on_leave,
            "drain": self._on_drain,
            "restart-envoy": self._on_restart,
            "renew": self._on_renew,
        }
        async with (
            control.serve(self._layout.control_socket, handlers),
            status_http.serve("127.0.0.1", self._config.ports.status, answers),
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

    # Identity

    async def _request(self, csr_der: bytes, identity: Identity | None) -> IssueResult:
        return await self.host.request_certificate(csr_der, identity)

    def _new_host_identity(self, fresh: HostCredentials) -> None:
        credentials = _credentials(fresh)
        self.host.set_credentials(credentials)
        self.relay.set_credentials(credentials)
        self._spawn(self._confirm(None, fresh.serial))

    def _new_workload(self, identity: Identity, serial: str) -> None:
        self.relay.set_secrets(self.identity.secrets())
        self._certified.set()
        self.registrar.look_again()
        self._spawn(self._confirm(identity, serial))

    async def _confirm(self, identity: Identity | None, serial: str) -> None:
        """Let the old key go from disk once the new one is in use, in Envoy or on our streams."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONFIRM_SECONDS):
                while not await self._uses(identity, serial):  # noqa: ASYNC110 (admin is asked)
                    await asyncio.sleep(0.05)
        self.identity.in_use(identity, serial)

    async def _uses(self, identity: Identity | None, serial: str) -> bool:
        if identity is None:
            return self.host.connected and self.relay.is_connected
        if not self.envoy.serving:
            return True
        with contextlib.suppress(HostmeshError):
            return serial in str(await self.envoy.admin.certs()).lower()
        return False

    # The control plane's words

    def _welcomed(self, welcome: pb.Welcome) -> None:
        del welcome
        self.identity.connected()
        grant = self.host.grant
        if grant is not None and grant != self.identity.grant:
            self.identity.grant_changed(grant)
            self.identity.want(workloads.wanted(self._config, grant))
        self.registrar.connected()

    def _verdict(self, verdict: pb.Verdict) -> None:
        self.registrar.verdict(verdict)

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
        needed = workloads.wanted(self._config, self.identity.grant)
        return set(needed) <= set(self.identity.workloads)

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
            config=self._config,
            identity=self.identity,
            host=self.host,
            relay=self.relay,
            envoy=self.envoy,
            capture=self.capture,
            registrar=self.registrar,
        )

    async def _on_status(self, _: Mapping[str, object], __: control.Progress) -> object:
        return self._status()

    async def _on_restart(self, _: Mapping[str, object], progress: control.Progress) -> object:
        before = self.envoy.epoch
        progress("starting a new Envoy beside the one that runs")
        await self.envoy.hot_restart()
        return f"Envoy epoch {self.envoy.epoch} serves (pid {self.envoy.pid}), {before} finishes"

    async def _on_renew(self, _: Mapping[str, object], __: control.Progress) -> object:
        before = {one.identity: one.serial for one in self.identity.status()}
        self.identity.renew_now()
        for _try in range(200):
            await asyncio.sleep(0.05)
            now = {one.identity: one.serial for one in self.identity.status()}
            if all(now.get(name) != serial for name, serial in before.items()):
                return f"renewed {len(now)} certificate(s)"
        raise Refused("cannot renew now: no answer within 10 s; look at: hostmesh-agent status")

    async def _on_drain(self, _: Mapping[str, object], progress: control.Progress) -> object:
        self.registrar.leaving()
        if not self.host.connected:
            progress("no control plane answers: the lease ends by itself within seconds")
            return {"complete": False}
        progress("deregistering")
        complete = await self.host.drain()
        return {"complete": complete}

    async def _on_leave(self, request: Mapping[str, object], progress: control.Progress) -> object:
        drained = await self._on_drain(request, progress)
        progress(f"out of every peer's endpoints: {drained}; removing rules and names")
        self.capture.set_names({})
        self.capture.set_wanted(Wanted.LEFT)
        removed = await self.capture.wait_removed(15)
        progress(
            "rules are out; Envoy finishes its connections"
            if removed
            else "rules: see redirect status"
        )
        await self.envoy.drain_and_stop()
        self._disk.forget()
        self._left.set()
        rest = "" if removed else "; rules are left: hostmesh-agent redirect remove"
        return f"this host has left the mesh{rest}"

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        if self._tasks is not None:
            self._tasks.create_task(work)
        else:
            work.close()


def _node(host_id: str) -> XdsNode:
    """Say of this host what decides addresses, and nothing else."""
    node = XdsNode(id=host_id)
    node.metadata[names.NODE_IPV6] = can_bind_ipv6()
    return node


def _credentials(host: HostCredentials) -> Credentials:
    return Credentials(
        host.key_pem,
        host.chain_pem,
        host.roots_pem,
        names.control_plane_host(host.trust_domain),
    )


def main(config_path: str, layout: HostLayout, *, log_level: str) -> None:
    """Run the agent until SIGTERM; Envoy and the rules stay.

    Exits with `exit_status.LEFT` when the host has left the mesh: nobody starts it again.
    """
    logging.basicConfig(
        level=log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    config = read_config(config_path)
    stored = IdentityDisk(Path(layout.identity_dir)).load()
    if stored is None:
        raise BadInput(
            "cannot run: this host has not joined; next: hostmesh-agent join --token-file FILE"
        )
    if asyncio.run(_serve(Agent(config, layout, stored))):
        sys.exit(exit_status.LEFT)


async def _serve(agent: Agent) -> bool:
    """Serve until told to end; True where the host has left the mesh."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await agent.run()
        return True
    return False
