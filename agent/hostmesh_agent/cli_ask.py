"""What asks the running agent: `status`, `drain`, `restart-envoy`, `renew`.

`status` is what people and scripts run again and again, so no gRPC, no certificates, no YAML here.
"""

import json
import sys

import click

from hostmesh_agent.app import supervision
from hostmesh_agent.cli_options import echo, instance_option, output_option, progress
from hostmesh_agent.edges import control
from hostmesh_agent.logic import screens
from hostmesh_core.host_layout import HostLayout


@click.command("status")
@instance_option
@output_option
def status(*, instance: str, output: str) -> None:
    """Show in one screen what is up, what is not and why, and what to do next."""
    layout = HostLayout(instance)
    answer = supervision.told(_call(instance, "status", timeout=10), layout)
    echo(json.dumps(answer, indent=2) if output == "json" else screens.status(answer))
    if isinstance(answer, dict) and answer.get("waiting"):
        sys.exit(1)


@click.command("drain")
@click.option(
    "--release",
    is_flag=True,
    help="Also give the captured ports back: callers reach the apps directly. Virtual addresses "
    "stay for as long as Envoy lives.",
)
@instance_option
def drain(*, release: bool, instance: str) -> None:
    """Deregister: peers stop calling this host, until its agent is started again.

    Exit status 0: every peer has said that it sends nobody here; 1: deregistered, and not every
    peer has said so in time, or nobody says that the ports are given back.
    """
    answer = _call(instance, "drain", timeout=60, release=release)
    said = answer if isinstance(answer, dict) else {}
    left = []
    if said.get("complete") is not True:
        left.append("deregistered; not every peer knows")
    if said.get("released") is False:
        left.append("nobody says that the ports are given back: hostmesh-agent redirect status")
    if left:
        echo("\n".join(left), err=True)
        sys.exit(1)
    echo("out of every peer's endpoints")


@click.command("restart-envoy")
@instance_option
def restart_envoy(*, instance: str) -> None:
    """Hot-restart Envoy: a new one takes the listeners over, no request is lost."""
    echo(str(_call(instance, "restart-envoy", timeout=60)))


@click.command("renew")
@instance_option
def renew(*, instance: str) -> None:
    """Renew the certificates now, with new keys."""
    echo(str(_call(instance, "renew", timeout=60)))


def _call(instance: str, verb: str, *, timeout: float, **args: object) -> object:
    path = HostLayout(instance).control_socket
    return control.call(path, verb, timeout=timeout, progress=progress, **args)
