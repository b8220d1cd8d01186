import argparse
import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from hostmesh_agent import cli as agent_cli
from hostmesh_agent.redirector import command_line as redirect
from hostmesh_controlplane import cli as controlplane_cli
from hostmesh_ctl import cli as operator_cli
from hostmesh_testing import reference

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SOURCES = [
    path for folder in ("agent", "controlplane", "core") for path in ROOT.glob(f"{folder}/**/*.py")
]
SCRIPTS = [path for path in ROOT.glob("tools/*") if path.is_file()]
COMMAND = re.compile(
    r"(?<![\w./@:-])(hostmesh(?:-agent|-controlplane)?)((?:\s(?!hostmesh)[a-z][a-z-]*)+)"
)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_the_reference_says_what_the_code_does(name: str) -> None:
    written = (reference.FOLDER / name).read_text()
    assert written == reference.pages()[name], "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    missing = [
        target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()
    ]
    assert missing == []


def test_the_first_real_use_names_every_program() -> None:
    text = (ROOT / "README.md").read_text()
    for program in ("hostmesh-controlplane run", "hostmesh-agent join", "hostmesh token create"):
        assert program in text


Commands = Mapping[str, "Commands"]


def _tree(command: click.Command) -> Commands:
    if not isinstance(command, click.Group):
        return {}
    context = click.Context(command)
    found = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return {name: _tree(sub) for name, sub in found.items() if sub is not None}


def _redirect() -> Commands:
    actions = redirect._parser()._actions
    (commands,) = (a.choices for a in actions if isinstance(a, argparse._SubParsersAction))
    return {name: {} for name in commands}


def programs() -> Commands:
    """Give every program's commands, those of the agent's small processes too (its `main.py`)."""
    small: Commands = {"envoy": {"compile": {}}, "redirect": _redirect()}
    return {
        "hostmesh": _tree(operator_cli.main),
        "hostmesh-agent": {**_tree(agent_cli.main), **small},
        "hostmesh-controlplane": _tree(controlplane_cli.commands),
    }


def unknown_commands(text: str) -> list[str]:
    """Give the commands that `text` names and no program has; a group alone may be named."""
    found = []
    for program, rest in COMMAND.findall(text):
        known, named = programs()[program], [program]
        for word in rest.split():
            if not known:
                break  # its arguments, or the sentence goes on
            named.append(word)
            if word not in known:
                found.append(" ".join(named))
                break
            known = known[word]
    return found


def _literals(source: str) -> Iterator[str]:
    """Give every text of a module; what an f-string fills in is no command's name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        pytest.param("run `hostmesh analyze` next", ["hostmesh analyze"], id="no such command"),
        pytest.param("hostmesh host ban 7f3a", ["hostmesh host ban"], id="none of the group"),
        pytest.param("hostmesh-agent\nstart", ["hostmesh-agent start"], id="over two lines"),
        pytest.param("hostmesh-agent redirect undo", ["hostmesh-agent redirect undo"], id="small"),
        pytest.param("hostmesh services lists what it sees", [], id="a sentence goes on"),
        pytest.param("hostmesh-agent envoy compile, hostmesh token", [], id="all there"),
    ],
)
def test_a_command_that_does_not_exist_is_found(text: str, unknown: list[str]) -> None:
    assert unknown_commands(text) == unknown


def test_every_command_that_is_named_exists() -> None:
    named = {path: [path.read_text()] for path in [*PAGES, *SCRIPTS]}
    named |= {path: list(_literals(path.read_text())) for path in SOURCES}
    unknown = {
        str(path.relative_to(ROOT)): found
        for path, texts in named.items()
        if (found := [command for text in texts for command in unknown_commands(text)])
    }
    assert unknown == {}
