"""The verbs about tokens and hosts."""

import os
import re
from pathlib import Path

import click

from hostmesh_core.errors import BadInput
from hostmesh_ctl import output
from hostmesh_ctl.context import Context, output_option, pass_context
from hostmesh_ctl.output import Row, columns, field, rows_of

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Read a duration such as 90s, 15m, 1h or 2d. Raises BadInput."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadInput(f"cannot use duration {text!r}: write a number and s, m, h or d, as in 1h")
    return float(match[1]) * _SECONDS[match[2]]


@click.group("token")
def token() -> None:
    """Make, list and revoke the tokens that hosts join with."""


@token.command("create")
@click.option("--namespace", "-n", default="default", show_default=True)
@click.option("--service-account", multiple=True, help="Default: the name of each service.")
@click.option("--service", multiple=True, help="Which services the host may register.")
@click.option("--role", type=click.Choice(["sidecar", "gateway"]), default="sidecar")
@click.option("--kind", type=click.Choice(["agent", "envoy", "grpc"]), default="agent")
@click.option("--cidr", multiple=True, help="Addresses the host may register beside its own.")
@click.option("--label", multiple=True, metavar="KEY=VALUE")
@click.option("--uses", type=click.IntRange(1), default=1, show_default=True)
@click.option("--ttl", default="1h", show_default=True, help="As in 30s, 15m, 1h, 2d.")
@click.option("--require-mesh", is_flag=True, help="Services born with it start in state mesh.")
@click.option("--out", type=click.Path(dir_okay=False), help="Write it here (0600), not to stdout.")
@output_option
@pass_context
def token_create(ctx: Context, /, *, out: str | None, ttl: str, **options: object) -> None:
    """Make a token. Without --service it is for a pure client, which can register nothing.

    \b
    Examples:
      hostmesh token create --service reviews --out reviews.token
      hostmesh token create --service-account batch          (a client)
      hostmesh token create --service 'web' --uses 20 --ttl 2d --cidr 10.1.0.0/16
    """
    body = {key: list(v) if isinstance(v, tuple) else v for key, v in options.items()}
    answer = ctx.api.post("tokens", body={**body, "ttl_seconds": seconds(ttl)})
    if not isinstance(answer, dict):
        raise BadInput(f"cannot read the control plane's answer: {type(answer).__name__}")
    text = str(answer["token"])
    if out is not None:
        _write_secret(Path(out), text)
    if ctx.output != "table":
        ctx.show(_token_answer(answer, out), str)
        return
    if out is None:
        click.echo(text)
    where = f"written to {out}; " if out else ""
    click.echo(
        f"{where}token {answer['id']} for {answer['covers']}, {answer['uses']} use(s), {ttl}; "
        "on the host: hostmesh-agent join --token-file FILE",
        err=True,
    )


def _token_answer(answer: Row, out: str | None) -> dict[str, object]:
    """Give the answer for machines: the secret itself, or the file that holds it."""
    if out is None:
        return dict(answer)
    return {key: value for key, value in answer.items() if key != "token"} | {"file": out}


def _write_secret(path: Path, text: str) -> None:
    """Write a new file that only its owner reads; an old one is replaced, never re-used."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")


@token.command("list")
@output_option
@pass_context
def token_list(ctx: Context) -> None:
    """List the tokens: what they cover, uses left, when they end. Never the secrets."""
    answer = ctx.api.get("tokens")
    of = columns("id", "covers", "uses_left", "expires", "state")
    empty = "no token; make one with: hostmesh token create --service NAME"
    ctx.show(answer, lambda: output.render(rows_of(answer), of, empty=empty))


@token.command("revoke")
@click.argument("token_id")
@output_option
@pass_context
def token_revoke(ctx: Context, token_id: str) -> None:
    """Make token TOKEN_ID useless from now on; hosts that joined with it stay."""
    answer = ctx.api.post("tokens", token_id, "revoke")
    ctx.show(answer, lambda: f"token {token_id} is revoked")


@click.command("hosts")
@output_option
@pass_context
def hosts(ctx: Context) -> None:
    """List the hosts that joined: what they may claim, connected or not, certificate hours left."""
    answer = ctx.api.get("hosts")
    of = [
        ("HOST", field("id")),
        *columns("name", "role", "covers", "address", "state"),
        ("CERT HOURS LEFT", field("certificate_hours_left")),
        *columns("registered"),
    ]
    empty = "no host has joined; make a token with: hostmesh token create --service NAME"
    ctx.show(answer, lambda: output.render(rows_of(answer), of, empty=empty))


@click.group("host")
def host() -> None:
    """Change what one host may claim, or revoke it. HOST is an id, its beginning, or a name."""


@host.command("grant")
@click.argument("host_")
@click.option(
    "--add-service",
    multiple=True,
    metavar="[NAMESPACE/]SERVICE",
    help="A service, under every account that the grant has in the namespace.",
)
@click.option(
    "--add-service-account",
    multiple=True,
    metavar="[NAMESPACE/]ACCOUNT",
    help="An account, for every service that the grant has in the namespace.",
)
@click.option(
    "--add-service-as",
    multiple=True,
    nargs=2,
    metavar="[NAMESPACE/]SERVICE ACCOUNT",
    help="This service under this account alone.",
)
@click.option(
    "--add-client",
    multiple=True,
    metavar="[NAMESPACE/]ACCOUNT",
    help="An account to call others as; nothing is registered by it.",
)
@click.option("--add-cidr", multiple=True)
@click.option("--remove-service", multiple=True, metavar="[NAMESPACE/]SERVICE")
@click.option("--remove-service-account", multiple=True, metavar="[NAMESPACE/]ACCOUNT")
@click.option("--remove-service-as", multiple=True, nargs=2, metavar="[NAMESPACE/]SERVICE ACCOUNT")
@click.option("--remove-cidr", multiple=True)
@output_option
@pass_context
def host_grant(
    ctx: Context, /, host_: str, **changes: tuple[str, ...] | tuple[tuple[str, str], ...]
) -> None:
    """Widen or narrow the grant of HOST, effective at once.

    \b
    Examples:
      hostmesh host grant web1 --add-service-as api web      (api under account web, nothing else)
      hostmesh host grant web1 --remove-service api
    """
    if not any(changes.values()):
        raise BadInput("cannot change a grant without a change; see: hostmesh host grant --help")
    body = {key: [_in_words(one) for one in value] for key, value in changes.items()}
    answer = ctx.api.post("hosts", host_, "grant", body=body)
    ctx.show(answer, lambda: output.done(answer))


def _in_words(one: str | tuple[str, str]) -> str:
    return one if isinstance(one, str) else " as ".join(one)


@host.command("revoke")
@click.argument("host_")
@click.option("--reason", default="", help="For the audit log.")
@click.confirmation_option(prompt="Its endpoints go and it cannot come back by itself. Revoke?")
@output_option
@pass_context
def host_revoke(ctx: Context, host_: str, reason: str) -> None:
    """Revoke HOST: its streams end, its endpoints go, its certificates are not renewed."""
    answer = ctx.api.post("hosts", host_, "revoke", body={"reason": reason})
    ctx.show(answer, lambda: output.done(answer))


@host.command("end-held")
@click.confirmation_option(prompt="Are all hosts whose lease is held really gone?")
@output_option
@pass_context
def host_end_held(ctx: Context) -> None:
    """Let held leases end: so many hosts fell silent at once that none was taken out."""
    answer = ctx.api.post("leases", "end-held")
    ctx.show(answer, lambda: output.done(answer))


COMMANDS: tuple[click.Command, ...] = (token, hosts, host)
