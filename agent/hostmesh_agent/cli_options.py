"""What the commands of `hostmesh-agent` share: their options, and how an error ends one."""

import sys

import click

from hostmesh_core import instances, own_commands
from hostmesh_core.errors import BadInput, HostmeshError
from hostmesh_core.host_layout import DEFAULT_INSTANCE, HostLayout
from hostmesh_core.one_line import one_line

_INSTANCE = "hostmesh.instance"


def echo(text: str, *, err: bool = False) -> None:
    """Print a text that may hold another's words: a terminal obeys control characters.

    Commands in it that a person may paste name the instance that this one was about.
    """
    text = own_commands.of_instance(text, _instance())
    click.echo("\n".join(map(one_line, text.split("\n"))), err=err)


def progress(text: str) -> None:
    """Show a step of something long, beside its answer."""
    echo(text, err=True)


def _instance() -> str:
    context = click.get_current_context(silent=True)
    return str(context.meta.get(_INSTANCE, DEFAULT_INSTANCE)) if context else DEFAULT_INSTANCE


class Group(click.Group):
    """A command group that shows an error as one sentence and picks the exit status."""

    def invoke(self, ctx: click.Context) -> object:
        """Run, and end with 2 for bad input, 1 for what was refused or could not be reached."""
        try:
            return super().invoke(ctx)
        except HostmeshError as error:
            echo(f"hostmesh-agent: {error}", err=True)
            sys.exit(2 if isinstance(error, BadInput) else 1)


def _known_form(context: click.Context, _: click.Parameter, value: str) -> str:
    """Refuse a name that would lead to paths of its own making."""
    context.meta[_INSTANCE] = instances.checked(value)
    return value


instance_option = click.option(
    "--instance",
    default=DEFAULT_INSTANCE,
    callback=_known_form,
    show_default=True,
    help="Which agent of this host, where there is more than one.",
)
config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False),
    help="agent.yaml; by default /etc/hostmesh/agent.yaml.",
)
output_option = click.option(
    "--output", "-o", type=click.Choice(["table", "json"]), default="table", show_default=True
)
agent_user_option = click.option(
    "--agent-user", default="hostmesh", show_default=True, metavar="NAME|UID"
)
envoy_user_option = click.option(
    "--envoy-user", default="hostmesh-envoy", show_default=True, metavar="NAME|UID"
)


accept_option = click.option(
    "--accept",
    multiple=True,
    metavar="FINDING[:SERVICE]",
    help="Go on although this was found; repeatable.",
)


def config_path(config: str | None, layout: HostLayout) -> str:
    """Give the file to read: the one named, else the instance's own."""
    return config or layout.config_file
