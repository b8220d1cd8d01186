"""`hostmesh-agent capture`: root's word to the redirector."""

import click

from hostmesh_agent.app import joining
from hostmesh_agent.cli_options import config_option, config_path, echo, instance_option
from hostmesh_core.host_layout import HostLayout


@click.group("capture")
def capture_group() -> None:
    """What the kernel rules are made from."""


@capture_group.command("compile")
@config_option
@instance_option
@click.option("--agent-user", default="hostmesh", show_default=True, metavar="NAME|UID")
@click.option("--envoy-user", default="hostmesh-envoy", show_default=True, metavar="NAME|UID")
def capture_compile(*, config: str | None, instance: str, agent_user: str, envoy_user: str) -> None:
    """Write capture.json from agent.yaml: ports, users, exclusions. Root; touches no rule."""
    layout = HostLayout(instance)
    users = joining.Users(agent=agent_user, envoy=envoy_user)
    joining.compile_capture(config_path(config, layout), layout, as_users=users)
    echo(f"written {layout.capture_file}")
