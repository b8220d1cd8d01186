"""The demo: four hosts in namespaces, real Envoy, real Consul, one service joining under load.

Every step prints a line; the last line is the account of every request. Whatever happens, Ctrl-C
included, nothing is left on the machine, unless it is asked to stay.
"""

import os
import signal
from functools import partial
from pathlib import Path

import click

from hostmesh_core.errors import HostmeshError
from hostmesh_ctl.demo import consul_binary, failures, joining, outages, verdict
from hostmesh_ctl.demo.consul_binary import ConsulMissing
from hostmesh_ctl.demo.hosts import Lab, check_machine, sweep
from hostmesh_ctl.demo.progress import Progress
from hostmesh_ctl.demo.stage import SERVICE, NotShown, Server, Stage, build, list_server

INTERRUPTED = 128 + signal.SIGINT


def main(*, keep: bool) -> int:
    """Play the demo; give the exit status: 0 only if no request failed and all was shown."""
    try:
        check_machine()
        sweep()
        binary = _consul()
        with Lab(exposed=[binary] if binary else [], keep=keep) as lab:
            return play(lab, binary, keep=keep)
    except HostmeshError as error:
        click.echo(f"demo: {error}", err=True)
        return 1
    except KeyboardInterrupt:
        click.echo("\ndemo: interrupted; nothing is left of it", err=True)
        return INTERRUPTED


def _consul() -> Path | None:
    """Find Consul before anything is built; say plainly what will be missing without one."""
    try:
        return consul_binary.find(os.environ, lambda text: click.echo(f"  {text}"))
    except ConsulMissing as error:
        click.echo(f"  {error}")
        click.echo("  the demo goes on with the static catalog alone: the Consul part is NOT SHOWN")
        return None


def play(lab: Lab, binary: Path | None, *, keep: bool) -> int:
    """Play on a fresh lab; give the exit status."""
    progress = Progress()
    stage = build(lab, progress, binary)
    catalogs = "the static catalog and Consul" if binary else "the static catalog"
    progress.step(f"four hosts: cp1, client, web1, web2; {SERVICE} is known to {catalogs}")
    try:
        acts(stage)
        shown = True
    except HostmeshError as error:
        progress.step(f"stopped: {error}")
        verdict.last_words(stage)
        shown = False
    status = verdict.final(stage, shown=shown)
    if keep:
        _stay(stage)
    return status


def acts(stage: Stage) -> None:
    """Play every step in its order. Raises HostmeshError where one does not come about."""
    first, second = stage.servers
    joining.client_joins(stage)
    joining.load_begins(stage)
    joining.server_joins(stage, first)
    joining.server_joins(stage, second)
    joining.mesh_required(stage)
    joining.identities_shown(stage)
    if stage.consul is not None:
        joining.plain_service_called(stage)
    failures.app_killed(stage, first)
    failures.host_cut(stage, second)
    failures.certificate_renewed(stage, first)
    outages.control_plane_stops(stage)
    outages.agent_killed(stage)
    outages.envoy_restarted(stage)
    outages.envoy_killed(stage)
    outages.control_plane_returns(stage)
    sources_shown(stage)
    entries_removed(stage)


def sources_shown(stage: Stage) -> None:
    """Show the table, and that each endpoint comes from its catalog and its registration."""
    stage.progress.step(f"hostmesh endpoints {SERVICE}")
    stage.progress.detail(stage.control_plane.command("endpoints", SERVICE))
    for server in stage.servers:
        expected, got = f"{server.source}+registered", stage.row(server).get("source")
        if got != expected:
            raise NotShown(f"cannot show {server.app.endpoint} as {expected}: it is {got}")


def entries_removed(stage: Stage) -> None:
    """Take one entry out of each catalog, and see the table change."""
    for server in stage.servers:
        list_server(stage, server, listed=False)
        stage.until(
            f"{server.app.endpoint} without {server.source}",
            partial(_only_registered, stage, server),
        )
    where = " and one out of Consul" if stage.consul else ""
    stage.progress.step(f"one entry taken out of the static file{where}: the table follows")
    stage.progress.detail(stage.control_plane.command("endpoints", SERVICE))


def _only_registered(stage: Stage, server: Server) -> bool:
    return stage.row(server).get("source") == "registered"


def _stay(stage: Stage) -> None:
    """Leave the hosts running, and say how to enter and end them."""
    stage.lab.leave_running()
    click.echo("\nleft running; enter a host with:")
    for host in stage.lab.hosts.values():
        click.echo(f"  {host.name:<7} {' '.join(host.holder.enter())} bash")
    click.echo("end it with: make demo-end")
