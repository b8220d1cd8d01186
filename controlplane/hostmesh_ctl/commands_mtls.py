"""The verbs about plaintext: a service's Envoys strict or permissive, the report over all."""

import sys

import click

from hostmesh_core.errors import BadInput, HostmeshError, Refused
from hostmesh_ctl import output, service_text
from hostmesh_ctl.commands_mesh import service
from hostmesh_ctl.context import Context, output_option, pass_context
from hostmesh_ctl.output import Row, columns, field, row_of, rows_of


def _plaintext(row: Row) -> object:
    """Give the callers; a zero that nobody counts would be a promise."""
    return row.get("plaintext_callers") if row.get("counted_since") else "-"


REPORT_COLUMNS = [
    *columns("service", "state"),
    ("MESHED", lambda row: f"{row.get('meshed', 0)} of {row.get('endpoints', 0)}"),
    *columns("inbound"),
    ("PLAINTEXT CALLERS IN 24 H", _plaintext),
    ("COUNTED FOR", field("counted_for")),
    *columns("next"),
]
ALL_COLUMNS = columns("service", "outcome", "why")


@service.command("strict")
@click.argument("name", required=False)
@click.option(
    "--all", "every", is_flag=True, help="Every service that has an instance in the mesh."
)
@click.option("--force", is_flag=True, help="Shut out callers without the mesh too.")
@output_option
@pass_context
def strict(ctx: Context, name: str | None, *, every: bool, force: bool) -> None:
    """Let the Envoys of NAME refuse plaintext.

    Prints who called without the mesh in the last 24 h, and is refused while there is anybody, or
    while a host that serves it has not told yet (up to 15 s after a join).
    """
    _set(ctx, name, "strict", {"force": force}, every=every)


@service.command("permissive")
@click.argument("name", required=False)
@click.option(
    "--all", "every", is_flag=True, help="Every service that has an instance in the mesh."
)
@output_option
@pass_context
def permissive(ctx: Context, name: str | None, *, every: bool) -> None:
    """Let the Envoys of NAME take plaintext as well as mutual TLS: the way back from strict."""
    _set(ctx, name, "permissive", {}, every=every)


def _set(ctx: Context, name: str | None, verb: str, body: Row, *, every: bool) -> None:
    if every == bool(name):
        raise BadInput(f"cannot tell which services to make {verb}: name one, or say --all")
    if name:
        _one(ctx, name, verb, body)
    elif not _all(ctx, verb, body):
        sys.exit(1)


def _one(ctx: Context, name: str, verb: str, body: Row) -> None:
    try:
        answer = row_of(ctx.api.post("services", name, verb, body=body))
    except Refused as refused:
        if detail := refused.detail:
            ctx.show(dict(detail), lambda: service_text.mode_change(detail))
        raise
    ctx.show(answer, lambda: service_text.mode_change(answer))


def _all(ctx: Context, verb: str, body: Row) -> bool:
    """Decide about each service by itself; whether all went through.

    A control plane that fails is asked no further: what has been changed by then is shown.
    """
    rows: list[Row] = []
    failed = False
    for row in rows_of(ctx.api.get("services")):
        one = _outcome(ctx, row, verb, body, failed=failed)
        failed = failed or one["outcome"] == "failed"
        rows.append(one)
    empty = "no service is known yet; look at: hostmesh sources"
    ctx.show(rows, lambda: output.render(rows, ALL_COLUMNS, empty=empty))
    return not {"refused", "failed"} & {row["outcome"] for row in rows}


def _outcome(ctx: Context, row: Row, verb: str, body: Row, *, failed: bool) -> Row:
    def outcome(word: str, why: str) -> Row:
        return {"service": host, "outcome": word, "why": why}

    host = str(row["host"])
    if row.get("state") == "plain":
        return outcome("left", "plain: no instance is in the mesh")
    if failed:
        return outcome("not tried", f"ask again: hostmesh service {verb} --all")
    try:
        answer = row_of(ctx.api.post("services", host, verb, body=body))
    except (Refused, BadInput) as error:
        return outcome("refused", str(error))
    except HostmeshError as error:
        return outcome("failed", str(error))
    return outcome(str(answer.get("after", "")), "; ".join(service_text.texts(answer, "warnings")))


@click.group("mtls")
def mtls() -> None:
    """Look at who still speaks plaintext, over all services."""


@mtls.command("report")
@output_option
@pass_context
def report(ctx: Context) -> None:
    """Show for each service its state, its inbound mode, who calls without the mesh, what next.

    A dash for callers: no instance counts them.
    """
    answer = ctx.api.get("mtls")
    empty = "no service is known yet; look at: hostmesh sources"
    ctx.show(answer, lambda: output.render(rows_of(answer), REPORT_COLUMNS, empty=empty))


COMMANDS: tuple[click.Command, ...] = (mtls,)
