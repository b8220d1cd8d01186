"""A host in miniature for tests of Envoy's life: a runner process, a relay, real Envoys."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hostmesh_agent.config import Address, AgentConfig, EnvoyConfig, PortsConfig
from hostmesh_agent.edges import envoy_binary
from hostmesh_core.runner_file import RunnerSettings
from hostmesh_core.xds.resource import Resource
from hostmesh_testing.render_ads import AdsServer, Served
from hostmesh_testing.rooted_layout import RootedLayout, free_ports, rooted_layout
from hostmesh_testing.waiting import wait_until
from hostmesh_testing.xds import World

FAST = EnvoyConfig(
    concurrency=1,
    ready_seconds=5.0,
    settle_seconds=2.0,
    drain_seconds=2.0,
    stop_seconds=3.0,
    parent_shutdown_seconds=4.0,
)


@dataclass
class EnvoyHost:
    """Start its parts in the order that the test is about."""

    layout: RootedLayout
    config: AgentConfig
    world: World = field(default_factory=World)
    environment: dict[str, str] | None = None
    runner: subprocess.Popen[bytes] | None = None
    relay: AdsServer | None = None

    @property
    def settings(self) -> RunnerSettings:
        return RunnerSettings(
            binary=envoy_binary.find(),
            socket=self.layout.runner_socket,
            bootstrap_dir=self.layout.envoy_dir,
            state_dir=self.layout.hot_restart_dir,
            client_uids=(0,),
            admin_socket=self.layout.admin_socket,
            own_ports=(self.config.ports.readiness, self.config.ports.prometheus),
            held_ports=(self.config.ports.readiness, self.config.ports.prometheus),
            drain_seconds=int(self.config.envoy.drain_seconds),
            parent_shutdown_seconds=int(self.config.envoy.parent_shutdown_seconds),
            stop_drain_seconds=2.0,
            stop_seconds=2.0,
        )

    def start_runner(self, settings: RunnerSettings | None = None) -> subprocess.Popen[bytes]:
        """Start the runner and wait until it takes orders."""
        Path(self.layout.runner_file).write_text((settings or self.settings).encode())
        Path(self.layout.runner_socket).unlink(missing_ok=True)
        self.runner = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "hostmesh_agent.main",
                "envoy",
                "--settings",
                self.layout.runner_file,
            ],
            env=self.environment,
        )
        wait_until(Path(self.layout.runner_socket).exists, what="the runner's socket")
        return self.runner

    def start_relay(self) -> AdsServer:
        """Serve `world` to Envoy."""
        self.relay = AdsServer(Path(self.layout.xds_socket), Served(self.world, _NO_SECRETS))
        return self.relay

    def stop(self) -> None:
        """End what was started; the runner takes its Envoys along."""
        if self.runner is not None:
            self.runner.terminate()
            self.runner.wait(10)
        if self.relay is not None:
            self.relay.stop()


_NO_SECRETS: dict[str, Resource] = {}


@contextmanager
def envoy_host(envoy: EnvoyConfig = FAST) -> Iterator[EnvoyHost]:
    """Give a host with ports of its own; nothing of it is left afterwards."""
    with rooted_layout() as layout:
        outbound, inbound, status, readiness, prometheus = free_ports(5)
        config = AgentConfig(
            control_planes=(Address(host="127.0.0.1", port=1),),
            ports=PortsConfig(
                outbound=outbound,
                inbound=inbound,
                status=status,
                readiness=readiness,
                prometheus=prometheus,
            ),
            envoy=envoy,
        )
        host = EnvoyHost(layout, config)
        try:
            yield host
        finally:
            host.stop()
