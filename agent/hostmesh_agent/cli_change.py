"""What changes a running agent: `reload`, `resume`. Exit status 1 where something is waited for."""

import json
import sys
from pathlib import Path

import click

from hostmesh_agent.app import reloading
from hostmesh_agent.cli_options import (
    accept_option,
    config_option,
    config_path,
    echo,
    instance_option,
    output_option,
    progress,
)
from hostmesh_agent.logic import screens
from hostmesh_core.host_layout import HostLayout


@click.command("reload")
@config_option
@instance_option
@output_option
@accept_option
def reload(*, config: str | None, instance: str, output: str, accept: tuple[str, ...]) -> None:
    """Take in an edited agent.yaml: new services first, then the old ones go. No request is lost.

    A file that is wrong, or asks for what cannot change in a running agent, changes nothing: exit
    status 2; so does a new or changed service whose callers would notice, as at a join (--accept).
    Exit status 0: what runs is what the file says, and every peer knows; 1: something of that is
    waited for, and the screen says what.
    """
    layout = HostLayout(instance)
    path = str(Path(config_path(config, layout)).absolute())
    show(reloading.reload(path, layout, progress, accept), output)


@click.command("resume")
@click.argument("service")
@instance_option
@output_option
def resume(*, service: str, instance: str, output: str) -> None:
    """Bring back a service that `leave --service` took out. Exit status as of reload."""
    show(reloading.resume_service(service, HostLayout(instance), progress), output)


def show(came_of_it: reloading.Reloaded, output: str) -> None:
    """Show what a change came to, and end with its exit status."""
    value = came_of_it.as_value()
    echo(json.dumps(value, indent=2) if output == "json" else screens.reloaded(value))
    if not (came_of_it.whole and came_of_it.complete):
        sys.exit(1)
