"""`hostmesh-agent join`: arguments in, one screen out."""

import json
import sys
from pathlib import Path
from typing import TypedDict, Unpack

import click

from hostmesh_agent.app import joining, looking
from hostmesh_agent.app import status as app_status
from hostmesh_agent.cli_options import (
    agent_user_option,
    config_option,
    config_path,
    envoy_user_option,
    instance_option,
    output_option,
)
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout


class Given(TypedDict):
    """The options of `join`, as click hands them over."""

    config: str | None
    instance: str
    token_file: str
    agent_user: str
    envoy_user: str
    enrol_only: bool
    output: str


@click.command("join")
@config_option
@instance_option
@click.option(
    "--token-file",
    required=True,
    metavar="FILE|-",
    help="Where the token is; removed after success. `-` reads it from stdin or asks for it.",
)
@agent_user_option
@envoy_user_option
@click.option(
    "--enrol-only", is_flag=True, help="Get the identity and stop there: for images and systemd."
)
@output_option
def join(**given: Unpack[Given]) -> None:
    """Enrol this host: check the control plane against the token's pin, get the host certificate.

    Nothing on the host is changed but the agent's own state; `run --all` does the rest.
    """
    layout = HostLayout(given["instance"])
    users = joining.Users(agent=given["agent_user"], envoy=given["envoy_user"])
    token_file = given["token_file"]
    path = config_path(given["config"], layout)
    joined = joining.join(path, layout, _token(token_file), as_users=users)
    if token_file != "-":  # noqa: S105 (a file's name)
        Path(token_file).unlink(missing_ok=True)
    as_json = given["output"] == "json"
    click.echo(json.dumps(joined, indent=2) if as_json else app_status.join_screen(joined))


def _token(source: str) -> str:
    """Read the token from a file, from stdin, or by a prompt where stdin is a terminal."""
    if source == "-":
        if sys.stdin.isatty():
            return str(click.prompt("Token", hide_input=True)).strip()
        return sys.stdin.read(4096).strip()
    try:
        return Path(source).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise BadInput(f"cannot read token file {source}: {reason}") from error


@click.command("check")
@config_option
@instance_option
@click.option(
    "--live", is_flag=True, help="Look at the apps too, as join does; nothing is changed."
)
@agent_user_option
@output_option
def check(*, config: str | None, instance: str, live: bool, agent_user: str, output: str) -> None:
    """Read agent.yaml and say what is wrong with it; start nothing.

    With --live: exit status 2 where something was found that would stop a join.
    """
    layout = HostLayout(instance)
    path = config_path(config, layout)
    services = joining.check(path)
    if not live:
        click.echo(f"{path}: ok, {services} service(s)")
        return
    found = looking.look_now(path, layout, agent_user=agent_user)
    click.echo(looking.as_json(found) if output == "json" else looking.as_text(found))
    if looking.stops(found):
        sys.exit(2)
