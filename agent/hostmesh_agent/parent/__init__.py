"""`run --all`: the agent's processes without systemd. Standard library only, no sockets of its own.

It makes the folders, lets root's files be compiled, then keeps redirector, Envoy's runner and agent
running, each as its own user. Killed, it leaves them serving, and the next one goes on with them.
"""

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass

from hostmesh_agent.edges import folders, lock_file, made_folders, users
from hostmesh_agent.edges.users import User
from hostmesh_agent.parent import ending, one_shot, processes
from hostmesh_agent.parent.keeper import Keeper, say
from hostmesh_agent.parent.processes import Program
from hostmesh_core import instances, own_commands
from hostmesh_core.errors import BadInput, HostmeshError
from hostmesh_core.host_layout import DEFAULT_INSTANCE, HostLayout

WEAKER = (
    "running as an ordinary user, which is weaker in three ways:",
    "  one user for everything: whoever takes Envoy over has the agent's keys too",
    "  no capture: apps reach the mesh through `upstreams:` and are reached through `mesh_port:`",
    "  no names: /etc/hosts is not touched",
)


@dataclass(frozen=True, slots=True)
class Options:
    """What `run --all` was told."""

    layout: HostLayout
    config: str
    log_level: str
    agent: User
    envoy: User

    @property
    def is_root(self) -> bool:
        """Whether capture and separate users are possible."""
        return os.geteuid() == 0


def main() -> None:
    """Run all; exit status 2 for bad input, 1 for what cannot be, 0 when told to end."""
    instance = DEFAULT_INSTANCE
    try:
        options = parse(sys.argv[1:])
        instance = options.layout.instance
        run(options)
    except HostmeshError as error:
        sys.stderr.write(own_commands.of_instance(f"hostmesh-agent: {error}\n", instance))
        sys.exit(2 if isinstance(error, BadInput) else 1)


def parse(arguments: list[str]) -> Options:
    """Read the command line. Raises BadInput where a user is not there."""
    parser = argparse.ArgumentParser(
        prog="hostmesh-agent",
        usage="hostmesh-agent run --all [OPTIONS]",
        description="Run the agent, Envoy's runner and the redirector, without systemd.",
    )
    parser.add_argument("run", help=argparse.SUPPRESS)
    parser.add_argument("--all", action="store_true", help="all of them: this very command")
    parser.add_argument("--instance", default=DEFAULT_INSTANCE, help="which agent of this host")
    parser.add_argument("--config", metavar="FILE", help="agent.yaml; by default the instance's")
    parser.add_argument(
        "--agent-user", default="hostmesh", metavar="NAME|UID", help="who the agent becomes"
    )
    parser.add_argument(
        "--envoy-user", default="hostmesh-envoy", metavar="NAME|UID", help="who Envoy becomes"
    )
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning"))
    parsed = parser.parse_args(arguments)
    layout = HostLayout(instances.checked(parsed.instance))
    if os.geteuid() == 0:
        agent = users.find(parsed.agent_user, option="--agent-user")
        envoy = users.find(parsed.envoy_user, option="--envoy-user")
        users.check_apart(agent, envoy)
    else:
        agent = envoy = User(os.geteuid(), os.getegid())
    config = os.path.abspath(parsed.config) if parsed.config else layout.config_file  # noqa: PTH100
    return Options(layout, config, parsed.log_level, agent, envoy)


def run(options: Options) -> None:
    """Make the folders and files, keep the programs running until told to end, then end them.

    Raises BadInput before anything is started, HostmeshError where rules are left at the end.
    """
    layout = options.layout
    if options.is_root:
        for user in (options.agent, options.envoy):
            processes.check_reach(user)
    made_folders.make(layout, folders.wanted(layout, agent=options.agent, envoy=options.envoy))
    lock_file.hold(f"{folders.parent_dir(layout)}/lock", what="run --all of this instance")
    compile_files(options)
    if not options.is_root:
        for line in WEAKER:
            say(line)
    keeper = Keeper(programs(options), on_hangup=_Reloading(options).start)
    keeper.listen_to_signals()
    keeper.run()
    ending.end(keeper, instance=layout.instance, has_rules=options.is_root)


def programs(options: Options) -> list[Program]:
    """List what is kept running, in the order of starting."""
    layout, root = options.layout, options.is_root
    at = folders.parent_dir(layout)
    instance = ("--instance", layout.instance)
    runner = Program(
        name="runner",
        argv=processes.own("envoy", *instance),
        user=options.envoy if root else None,
        record=f"{at}/runner.json",
        socket=layout.runner_socket,
    )
    agent = Program(
        name="agent",
        argv=processes.own("run", *instance, *_agent_options(options)),
        user=options.agent if root else None,
        record=f"{at}/agent.json",
    )
    redirector = Program(
        name="redirector",
        argv=processes.own("redirect", "watch", *instance),
        user=None,
        record=f"{at}/redirector.json",
    )
    return [redirector, runner, agent] if root else [runner, agent]


def _agent_options(options: Options) -> tuple[str, ...]:
    user = f"{options.agent.uid}:{options.agent.gid}"
    return ("--config", options.config, "--agent-user", user, "--log-level", options.log_level)


def compile_files(options: Options) -> None:
    """Let agent.yaml be compiled into root's own files. Raises BadInput with the words printed."""
    agent = f"{options.agent.uid}:{options.agent.gid}"
    common = ["--instance", options.layout.instance, "--config", options.config]
    common += ["--agent-user", agent]
    kind = [] if options.is_root else ["--explicit"]
    _compile(["envoy", "compile", *common, *kind])
    if options.is_root:
        envoy = ["--envoy-user", f"{options.envoy.uid}:{options.envoy.gid}"]
        _compile(["capture", "compile", *common, *envoy])


def _compile(arguments: list[str]) -> None:
    status, said = one_shot.run(arguments)
    if status != 0:
        words = said.removeprefix("hostmesh-agent: ") or f"`{' '.join(arguments)}` failed"
        raise (BadInput if status == 2 else HostmeshError)(words)


class _Reloading:
    """SIGHUP runs `hostmesh-agent reload` beside us: it may take long, and we go on keeping."""

    def __init__(self, options: Options) -> None:
        self._argv = ["reload", "--instance", options.layout.instance, "--config", options.config]
        self._instance = options.layout.instance
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it, unless one runs still: that one may have read the file before the last edit."""
        if self._running is not None and self._running.poll() is None:
            text = "a reload is under way; for what was edited since: hostmesh-agent reload"
            say(own_commands.of_instance(text, self._instance))
            return
        say("reloading agent.yaml")
        try:
            self._running = processes.aside(processes.own(*self._argv))
        except OSError as error:
            say(f"cannot run `hostmesh-agent reload`: {error.strerror}")
