"""The verbs about services, endpoints, sources and proxies."""

import click

from hostmesh_core.errors import Refused
from hostmesh_ctl import output, service_text
from hostmesh_ctl.context import Context, output_option, pass_context
from hostmesh_ctl.output import Row, columns, field, row_of, rows_of


def _fraction(row: Row) -> str:
    return f"{row.get('meshed', 0)} of {row.get('endpoints', 0)}"


@click.command("services")
@output_option
@pass_context
def services(ctx: Context) -> None:
    """List the services: ports, virtual addresses, state, how many endpoints are in the mesh."""
    answer = ctx.api.get("services")
    of = [
        ("SERVICE", field("host")),
        *columns("ports", "vip4", "state", "inbound"),
        ("MESHED", _fraction),
        *columns("plaintext", "sources"),
    ]

    def table() -> str:
        rows = rows_of(answer)
        text = output.render(rows, of, empty="no service is known yet; look at: hostmesh sources")
        notes = [
            output.line(row["host"], note)
            for row in rows
            for note in service_text.texts(row, "notes")
        ]
        return "\n".join([text, *notes])

    ctx.show(answer, table)


ENDPOINT_COLUMNS = [
    *columns("endpoint", "port", "health"),
    *columns("source", "origin", "since"),
    ("MESHED", field("meshed_text")),
    *columns("identity", "weight", "why"),
]


@click.command("endpoints")
@click.argument("service")
@output_option
@pass_context
def endpoints(ctx: Context, service: str) -> None:
    """Show a service's endpoints: who lists each, its health and why, meshed or not and why.

    SERVICE is a host name, or a short name where only one service has it.
    """
    answer = ctx.api.get("endpoints", service)
    empty = f"{service} has no endpoint; look at: hostmesh sources"
    ctx.show(answer, lambda: output.render(rows_of(answer), ENDPOINT_COLUMNS, empty=empty))


@click.command("proxy-status")
@click.argument("host", required=False)
@output_option
@pass_context
def proxy_status(ctx: Context, host: str | None) -> None:
    """Show per proxy and xDS type what was sent, stored, applied and rejected."""
    answer = ctx.api.get("proxy-status", **({"host": host} if host else {}))
    of = [*columns("host", "name", "type", "sent", "stored", "applied", "rejected", "age", "state")]

    def table() -> str:
        rows = rows_of(answer)
        text = output.render(rows, of, empty="no proxy is connected; look at: hostmesh hosts")
        notes = [
            output.line(f"{row['name']} {row['type']}", row["detail"])
            for row in rows
            if row["detail"]
        ]
        return "\n".join([text, *notes])

    ctx.show(answer, table)


@click.command("sources")
@output_option
@pass_context
def sources(ctx: Context) -> None:
    """Show every catalog: healthy, stale since when, or holding endpoints and why."""
    answer = ctx.api.get("sources")
    of = columns("name", "kind", "status", "services", "endpoints", "held", "detail")
    empty = "no source is configured; add `sources:` to controlplane.yaml"
    ctx.show(answer, lambda: output.render(rows_of(answer), of, empty=empty))


@click.group("source")
def source() -> None:
    """Act on one catalog."""


@source.command("accept")
@click.argument("name")
@output_option
@pass_context
def source_accept(ctx: Context, name: str) -> None:
    """Release what is held of source NAME: what it lists now is the truth."""
    answer = ctx.api.post("sources", name, "accept")
    ctx.show(answer, lambda: output.done(answer))


@click.group("service")
def service() -> None:
    """Look at and change how far one service is in the mesh."""


@service.command("show")
@click.argument("name")
@output_option
@pass_context
def service_show(ctx: Context, name: str) -> None:
    """Show one service whole: state, since when and by whom, ports, who may answer for it,
    which catalogs claim it and whose word counts, endpoints, conflicts.
    """
    answer = ctx.api.get("services", name)
    ctx.show(answer, lambda: service_text.service(row_of(answer), ENDPOINT_COLUMNS))


def _change(ctx: Context, name: str, verb: str, body: Row) -> None:
    """Ask for a change of a service and show what it does; what is refused is shown as well."""
    try:
        answer = row_of(ctx.api.post("services", name, verb, body=body))
    except Refused as refused:
        shown = refused.detail
        if shown and (shown.get("withheld") or ctx.output != "table"):
            ctx.show(dict(shown), lambda: service_text.effect(shown))
        raise
    ctx.show(answer, lambda: service_text.effect(answer))


dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show what it would do, and change nothing."
)


@service.command("require-mesh")
@click.argument("name")
@click.option("--force", is_flag=True, help="Withhold healthy endpoints without an agent too.")
@dry_run_option
@output_option
@pass_context
def require_mesh(ctx: Context, name: str, *, force: bool, dry_run: bool) -> None:
    """Take NAME to state mesh: only endpoints with a live registration are reached.

    Prints what it withholds. Refused while a healthy endpoint without an agent is left.
    """
    _change(ctx, name, "require-mesh", {"force": force, "dry_run": dry_run})


@service.command("allow-unmeshed")
@click.argument("name")
@click.option("--cidr", multiple=True, help="Only endpoints in these networks; default: all.")
@click.option(
    "--take-weights",
    is_flag=True,
    help="Let catalogs' weights count up to the largest that is listed now.",
)
@dry_run_option
@output_option
@pass_context
def allow_unmeshed(
    ctx: Context, name: str, *, cidr: tuple[str, ...], take_weights: bool, dry_run: bool
) -> None:
    """Take NAME back to state mixed: endpoints without an agent are reached in plaintext.

    Prints which ones, and what stays out and why. What catalogs' weights count up to stays as it
    was, unless --take-weights says otherwise.
    """
    body = {"cidr": list(cidr), "take_weights": take_weights, "dry_run": dry_run}
    _change(ctx, name, "allow-unmeshed", body)


@service.command("release")
@click.argument("name")
@click.argument("endpoint", nargs=-1, metavar="[ADDRESS:PORT]...")
@dry_run_option
@output_option
@pass_context
def service_release(ctx: Context, name: str, endpoint: tuple[str, ...], *, dry_run: bool) -> None:
    """Reach endpoints of NAME again whose lease ended and which a catalog still lists.

    An address may have a new owner; without ADDRESS:PORT all of them are released.
    """
    _change(ctx, name, "release", {"keys": list(endpoint), "dry_run": dry_run})


@click.command("demo")
@click.option("--keep", is_flag=True, envvar="KEEP", help="Leave the hosts running at the end.")
def demo(*, keep: bool) -> None:
    """Build four hosts out of network namespaces and show the mesh on them (root)."""
    from hostmesh_ctl.demo import story  # a large import that only this command needs

    raise SystemExit(story.main(keep=keep))


COMMANDS: tuple[click.Command, ...] = (
    services,
    endpoints,
    proxy_status,
    sources,
    source,
    service,
    demo,
)
