"""`hostmesh-agent envoy compile`: writes runner.json from agent.yaml, as root, before the start.

The runner itself may not read YAML, and the agent may not say what the runner executes: so root
writes it down once, from root's own file.
"""

import argparse
import math
import os
import sys
from pathlib import Path

from hostmesh_agent.app.configuration import read_config_of
from hostmesh_agent.config import AgentConfig
from hostmesh_agent.edges import envoy_binary, users
from hostmesh_agent.edges.users import User
from hostmesh_core import instances
from hostmesh_core.errors import BadInput, HostmeshError
from hostmesh_core.host_layout import DEFAULT_INSTANCE, HostLayout
from hostmesh_core.runner_file import RunnerSettings

STOP_DRAIN_SECONDS = 10.0
"""A stop of everything waits no longer for connections: whoever waits for it has a limit too."""


class CannotWrite(HostmeshError):
    """runner.json cannot be written: run as root, after the folders were made."""


def settings(config: AgentConfig, layout: HostLayout, *, agent: User) -> RunnerSettings:
    """Give what the runner may do. Raises BadInput where no Envoy is found that will do."""
    envoy = config.envoy
    binary = envoy_binary.find(envoy.binary)
    envoy_binary.check_version(binary)
    return RunnerSettings(
        binary=binary,
        socket=layout.runner_socket,
        bootstrap_dir=layout.envoy_dir,
        state_dir=layout.hot_restart_dir,
        client_uids=(agent.uid,),
        admin_socket=layout.admin_socket,
        own_ports=(config.ports.readiness, config.ports.prometheus),
        held_ports=_held(config),
        drain_seconds=math.ceil(envoy.drain_seconds),
        stop_drain_seconds=min(envoy.drain_seconds, STOP_DRAIN_SECONDS),
        parent_shutdown_seconds=math.ceil(envoy.parent_shutdown_seconds),
        max_concurrency=max(envoy.concurrency, os.cpu_count() or 1),
    )


def _held(config: AgentConfig) -> tuple[int, ...]:
    """Give where rules lead, and whose answers are believed: others must not listen there."""
    ports = config.ports
    captured = (ports.outbound, ports.inbound) if config.capture.enabled else ()
    return (*captured, ports.readiness, ports.prometheus)


def compile_file(
    config_path: str, layout: HostLayout, *, agent: User, explicit: bool = False
) -> str:
    """Write runner.json; gives its path. `explicit` refuses a configuration that wants capture.

    Raises BadInput, CannotWrite.
    """
    config = read_config_of(layout, config_path)
    if explicit and config.capture.enabled:
        raise BadInput(
            f"cannot use {config_path}: capture needs root; run as root, or write "
            "`capture: {enabled: false}` and give each service a mesh_port"
        )
    text = settings(config, layout, agent=agent).encode()
    new = Path(f"{layout.runner_file}.new")
    try:
        new.write_text(text)
        new.chmod(0o644)
        new.replace(layout.runner_file)
    except OSError as error:
        raise CannotWrite(
            f"cannot write {layout.runner_file}: {error.strerror}; run as root, or start "
            "with: hostmesh-agent run --all"
        ) from error
    return layout.runner_file


def main() -> None:
    """Run `hostmesh-agent envoy compile`: exit status 2 for bad input, 1 for what cannot be."""
    parser = argparse.ArgumentParser(
        prog="hostmesh-agent envoy compile",
        description="Write runner.json from agent.yaml: which Envoy, and who may order it. Root.",
    )
    parser.add_argument("--instance", default=DEFAULT_INSTANCE)
    parser.add_argument("--config", help="agent.yaml; by default the instance's own")
    parser.add_argument("--agent-user", default="hostmesh", metavar="NAME|UID")
    parser.add_argument("--explicit", action="store_true", help="refuse capture: not as root")
    arguments = parser.parse_args(sys.argv[3:])
    try:
        layout = HostLayout(instances.checked(arguments.instance))
        agent = users.find(arguments.agent_user, option="--agent-user")
        config = arguments.config or layout.config_file
        path = compile_file(config, layout, agent=agent, explicit=arguments.explicit)
    except HostmeshError as error:
        sys.stderr.write(f"hostmesh-agent: {error}\n")
        sys.exit(2 if isinstance(error, BadInput) else 1)
    sys.stdout.write(f"written {path}\n")
