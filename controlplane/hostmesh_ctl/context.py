"""What every command gets: the API and the wanted form of output."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import click

from hostmesh_ctl import output
from hostmesh_ctl.api_client import ApiClient


@dataclass(frozen=True, slots=True)
class Context:
    """Shared by all commands through click's `obj`."""

    api: ApiClient
    output: str

    def show(self, answer: object, table: Callable[[], str]) -> None:
        """Print an answer in the wanted form."""
        output.show(answer, cast(output.Format, self.output), table=table)


pass_context = click.make_pass_decorator(Context)


def output_option(function: Callable[..., None]) -> Callable[..., None]:
    """Let a command take `--output` too: people write it last."""

    def remember(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.obj = Context(ctx.obj.api, value)

    option = click.option(
        "--output",
        "-o",
        "output_",
        type=click.Choice(["table", "json", "yaml"]),
        callback=remember,
        expose_value=False,
        is_eager=True,
        help="A table for people, JSON or YAML for machines.",
    )
    return option(function)
