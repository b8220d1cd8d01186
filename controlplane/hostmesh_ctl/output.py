"""How answers are shown: tables for people, JSON or YAML for machines."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import click
import yaml
from tabulate import tabulate

from hostmesh_core.one_line import one_line

Format = Literal["table", "json", "yaml"]
Row = Mapping[str, object]
Column = tuple[str, Callable[[Row], object]]
_OBEYED = re.compile(r"(?!\x1b\[[0-9;]{0,8}m)[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_GOOD = frozenset({"healthy", "synced", "connected", "mesh"})
_BAD = frozenset({"unhealthy", "rejected", "revoked", "stale", "gone"})


def show(answer: object, output: Format, *, table: Callable[[], str]) -> None:
    """Print `answer` for machines, or what `table` makes of it for people."""
    match output:
        case "json":
            click.echo(json.dumps(answer, indent=2))
        case "yaml":
            click.echo(yaml.safe_dump(answer, sort_keys=False), nl=False)
        case "table":
            click.echo(printable(table()))


def printable(text: str) -> str:
    """Replace what a terminal would obey, but for our own colours and line ends: what a table is
    made of has gone through `cell` or `line` by then, and this is for what somebody forgot.
    """
    return _OBEYED.sub("?", text)


def cell(value: object) -> str:
    """Give what stands in one place of a table or a sentence: hosts and catalogs say much, and
    neither a line end nor a colour of theirs may look like ours.
    """
    return one_line(str(value))


def line(*said: object) -> str:
    """Give one line of a table's remarks: its parts, told apart by a colon."""
    return ": ".join(cell(one) for one in said)


def done(answer: object) -> str:
    """Give in what words a write says what came of it: its line ends are the control plane's."""
    said = str(answer.get("done", "done") if isinstance(answer, dict) else answer)
    return "\n".join(cell(one) for one in said.split("\n"))


def rows_of(answer: object) -> list[Row]:
    """Give the rows of a list answer."""
    return [row for row in answer if isinstance(row, dict)] if isinstance(answer, list) else []


def row_of(answer: object) -> Row:
    """Give an answer that is one object; anything else says nothing."""
    return answer if isinstance(answer, dict) else {}


def field(name: str) -> Callable[[Row], object]:
    """Make a column's reader of one field; lists are joined, absent is a dash."""

    def read(row: Row) -> object:
        value = row.get(name)
        if isinstance(value, list):
            value = ", ".join(str(item) for item in value)
        return "-" if value in (None, "") else value

    return read


def columns(*names: str) -> list[Column]:
    """Make columns headed by their field's name."""
    return [(name.upper().replace("_", " "), field(name)) for name in names]


def render(rows: Iterable[Row], of: Sequence[Column], *, empty: str) -> str:
    """Make a table; `empty` is the sentence where there is no row."""
    body = [[_coloured(read(row)) for _, read in of] for row in rows]
    if not body:
        return empty
    return tabulate(body, headers=[head for head, _ in of], tablefmt="plain", disable_numparse=True)


def _coloured(value: object) -> str:
    """Colour a state word; click drops the colour where the output is no terminal."""
    text = cell(value)
    first = text.split(" ", 1)[0].rstrip(",:")
    if first in _GOOD:
        return click.style(text, fg="green")
    return click.style(text, fg="red") if first in _BAD else text
