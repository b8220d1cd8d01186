"""`hostmesh-agent join`: arguments in, one screen out."""

import json
import sys
from pathlib import Path
from typing import TypedDict, Unpack

import click

from hostmesh_agent.app import enrolling, joining, journey, looking
from hostmesh_agent.cli_options import (
    accept_option,
    agent_user_option,
    config_option,
    config_path,
    echo,
    envoy_user_option,
    instance_option,
    output_option,
)
from hostmesh_agent.logic import screens
from hostmesh_core.errors import BadInput
from hostmesh_core.host_layout import HostLayout


class Given(TypedDict):
    """The options of `join`, as click hands them over."""

    config: str | None
    instance: str
    token_file: str
    agent_user: str
    envoy_user: str
    accept: tuple[str, ...]
    watch: float
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
@accept_option
@click.option(
    "--watch",
    type=click.FloatRange(0, 3600),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to count callers before the screen is shown.",
)
@click.option(
    "--enrol-only", is_flag=True, help="Get the identity and stop there: for images and systemd."
)
@output_option
def join(**given: Unpack[Given]) -> None:
    """Take this host into the mesh: look at its apps, enrol, start everything, wait, one screen.

    What callers would notice stops it before anything is changed. Interrupted, it is run again with
    the same token and goes on. Exit status 0: joined and registered; 1: joined, and something is
    waited for; 2: bad input, or a finding that stops.
    """
    layout = HostLayout(given["instance"])
    as_json = given["output"] == "json"
    if given["enrol_only"]:
        _enrol(given, layout, as_json=as_json)
        return
    order = journey.Order(
        config_path=config_path(given["config"], layout),
        layout=layout,
        users=joining.Users(agent=given["agent_user"], envoy=given["envoy_user"]),
        accept=given["accept"],
        watch_seconds=given["watch"],
    )
    answer = journey.join(order, _token_unless_joined(given["token_file"], layout), _say)
    _remove(given["token_file"])
    echo(json.dumps(answer, indent=2) if as_json else journey.screen(answer, layout))
    if answer["waiting"]:
        sys.exit(1)


def _enrol(given: Given, layout: HostLayout, *, as_json: bool) -> None:
    users = joining.Users(agent=given["agent_user"], envoy=given["envoy_user"])
    path = config_path(given["config"], layout)
    token = _token_unless_joined(given["token_file"], layout)
    joined = joining.join(path, layout, token, as_users=users, say=_say)
    _remove(given["token_file"])
    echo(json.dumps(joined, indent=2) if as_json else screens.joined(joined))


def _say(text: str) -> None:
    echo(f"hostmesh-agent: {text}", err=True)


def _remove(token_file: str) -> None:
    """Remove the used token's file, which may lie where nothing can be removed."""
    if token_file == "-":  # noqa: S105 (a file's name)
        return
    try:
        Path(token_file).unlink(missing_ok=True)
    except OSError as error:
        _say(f"cannot remove {token_file}: {error.strerror}; the token in it is used")


def _token_unless_joined(source: str, layout: HostLayout) -> str | None:
    """Read the token; None where an earlier run has removed its file and this host has joined."""
    try:
        gone = source != "-" and not Path(source).exists()
    except OSError:
        gone = False  # reading it says why it cannot be
    return None if gone and enrolling.is_joined(layout) else _token(source)


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
    services = joining.check(path, layout)
    if not live:
        value = {"file": path, "ok": True, "services": services}
        as_json = output == "json"
        echo(json.dumps(value, indent=2) if as_json else f"{path}: ok, {services} service(s)")
        return
    found = looking.look_now(path, layout, agent_user=agent_user)
    echo(looking.as_json(found) if output == "json" else looking.as_text(found))
    if looking.stops(found):
        sys.exit(2)
