"""`hostmesh-agent run`: the agent itself. With --all it is a program of its own (`parent`)."""

import click

from hostmesh_agent.app import agent_main, joining
from hostmesh_agent.cli_options import config_option, config_path, instance_option
from hostmesh_core.host_layout import HostLayout


@click.command("run")
@config_option
@instance_option
@click.option("--agent-user", default="hostmesh", metavar="NAME|UID", help="Who we become.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info")
def run(*, config: str | None, instance: str, agent_user: str, log_level: str) -> None:
    """Run the agent. With --all: the runner, the redirector and the agent, without systemd."""
    layout = HostLayout(instance)
    joining.become(agent_user)
    agent_main.main(config_path(config, layout), layout, log_level=log_level)
