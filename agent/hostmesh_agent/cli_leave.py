"""`hostmesh-agent leave`: the whole host, or one service.

Apart from the other changes: it reads the host's certificates, which they need not.
"""

import json

import click

from hostmesh_agent import cli_change
from hostmesh_agent.app import leaving, reloading
from hostmesh_agent.cli_options import (
    config_option,
    config_path,
    echo,
    instance_option,
    output_option,
    progress,
)
from hostmesh_core.host_layout import HostLayout


@click.command("leave")
@click.option("--service", metavar="NAME", help="Only this one; until `resume NAME`.")
@config_option
@instance_option
@output_option
def leave(*, service: str | None, config: str | None, instance: str, output: str) -> None:
    """Take this host out: endpoints first, then rules and names, then Envoy, then all files.

    From a join that was cut short, or with processes killed, too: nothing is left. Where there is
    nothing to leave it says so. With --service: exit status as of reload.
    """
    layout = HostLayout(instance)
    if service is not None:
        cli_change.show(reloading.leave_service(service, layout, progress), output)
        return
    came_of_it = leaving.leave(layout, config_path(config, layout), progress)
    as_json = output == "json"
    echo(json.dumps(came_of_it, indent=2) if as_json else leaving.screen(came_of_it))
