"""The end of the demo: every request accounted for, in one line."""

import click

from hostmesh_core.errors import HostmeshError
from hostmesh_ctl.demo.account import Account, OwnEnvoyDown, account
from hostmesh_ctl.demo.load import Record
from hostmesh_ctl.demo.outages import DOWN_SECONDS, retries
from hostmesh_ctl.demo.stage import Stage
from hostmesh_ctl.demo.traffic import journal_of

WAIT_SECONDS = 2.0
"""No new request may wait longer."""
SHOWN_AT_MOST = 10
"""Failed requests that are told one by one."""


def final(stage: Stage, *, shown: bool = True) -> int:
    """Stop the load, print the account; give the exit status."""
    if stage.load is None:
        return 1
    apps = [server.app for server in stage.servers]
    retried = stage.retried + _retried_now(stage)
    records = stage.load.stop()
    made = account(records, journal_of(apps), stage.incidents)
    down = sum(each.end - each.start for each in stage.incidents if isinstance(each, OwnEnvoyDown))
    _tell(stage, made)
    good = not made.failed and made.longest_wait <= WAIT_SECONDS and down <= DOWN_SECONDS
    click.echo(
        line(made, retried=retried, down=down, rate=stage.load.rate, consul=bool(stage.consul))
    )
    return 0 if good and shown else 1


def _retried_now(stage: Stage) -> int:
    try:
        return retries(stage)
    except HostmeshError:
        return 0  # its Envoy is gone; what it did is not known


def line(made: Account, *, retried: int, down: float, rate: float, consul: bool) -> str:
    """Give the demo's last line."""
    return (
        f"{made.sent} requests at {rate:.0f}/s, {len(made.failed)} failed, "
        f"{retried} retried by Envoy; in flight at the kill: {len(made.in_flight)}; "
        f"while the client's own Envoy was down: {len(made.own_envoy_down)} ({down:.2f} s); "
        f"longest wait {made.longest_wait:.2f} s; "
        f"Consul part: {'shown' if consul else 'NOT SHOWN'}"
    )


def _tell(stage: Stage, made: Account) -> None:
    spread = ", ".join(f"{name} {count}" for name, count in sorted(made.by_server.items()))
    stage.progress.step(
        f"load ended: {made.kept} on kept connections, {made.fresh} on fresh; answered by {spread}"
    )
    for record in made.failed[:SHOWN_AT_MOST]:
        stage.progress.detail(f"FAILED {_described(record)}")
    if made.longest_wait > WAIT_SECONDS:
        stage.progress.detail(f"TOO LONG: a request waited {made.longest_wait:.2f} s")


def _described(record: Record) -> str:
    kind = "kept" if record.kept else "fresh"
    took = record.end - record.start
    return (
        f"{record.method} {record.id} IPv{record.family} {kind} at {record.start:.2f} for "
        f"{took:.2f} s: {record.error}"
    )


def last_words(stage: Stage) -> None:
    """Show the end of every program's log, so that a failed demo can be understood."""
    for host in stage.lab.hosts.values():
        for running in host.processes:
            if running.name in {"agent", "controlplane", "consul"}:
                stage.progress.detail(f"--- {host.name} {running.name}, its last words:")
                stage.progress.detail("\n".join(running.said().splitlines()[-12:]))
