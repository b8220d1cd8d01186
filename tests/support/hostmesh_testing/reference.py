"""Writes docs/reference from the code: settings, ports, command lines. `make docs` runs it.

`tests/test_docs.py` compares, so that what people read cannot drift from what runs.
"""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click

from hostmesh_agent import cli as agent_cli
from hostmesh_agent import config as agent_config
from hostmesh_controlplane import cli as controlplane_cli
from hostmesh_controlplane import config as controlplane_config
from hostmesh_core import ports
from hostmesh_ctl import cli as operator_cli

FOLDER = Path(__file__).parents[3] / "docs" / "reference"
_NOTE = "<!-- Written by `make docs` from the code; changes here are lost. -->\n\n"
WIDTH = 96


def pages() -> dict[str, str]:
    """Give every page of docs/reference by file name."""
    return {
        "agent-yaml.md": _settings("agent.yaml", agent_config),
        "controlplane-yaml.md": _settings("controlplane.yaml", controlplane_config),
        "ports.md": _ports(),
        "commands.md": _commands(),
    }


def _settings(title: str, module: ModuleType) -> str:
    parts = [f"# {title}\n\n{_NOTE}Every file starts with `version: 1`. Times are in seconds.\n"]
    tree = ast.parse(inspect.getsource(module))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and _is_dataclass(node):
            rows = list(_fields(node))
            text = (ast.get_docstring(node) or "").replace("\n", " ")
            parts.append(f"\n## {node.name}\n\n{text}\n\n| key | type | default | meaning |\n")
            parts.append("|---|---|---|---|\n" + "".join(rows))
    return "".join(parts)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _fields(node: ast.ClassDef) -> Iterator[str]:
    for statement, following in zip(node.body, [*node.body[1:], ast.Pass()], strict=True):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        meaning = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            meaning = " ".join(inspect.cleandoc(str(following.value.value)).split())
        default = ast.unparse(statement.value) if statement.value else "required"
        default = default.removeprefix("field(default_factory=").removesuffix(")")
        kind = ast.unparse(statement.annotation).replace("|", "or")
        yield f"| `{statement.target.id}` | {kind} | `{default}` | {meaning.replace('|', 'or')} |\n"


def _ports() -> str:
    pool = f"{ports.IDENTITY_POOL[0]}-{ports.IDENTITY_POOL[-1]}"
    rows = [
        (ports.OUTBOUND_CAPTURE, "host", "outbound capture (redirected connections only)"),
        (ports.INBOUND_CAPTURE, "host", "inbound capture (redirected connections only)"),
        (pool, "host", "the same, more identities"),
        (ports.AGENT_STATUS, "host, loopback", "agent status, readiness, merged metrics"),
        (ports.READINESS, "host, all addresses", "readiness, by an Envoy worker: a status code"),
        (ports.ENVOY_PROMETHEUS, "host, loopback", "Envoy's own Prometheus endpoint"),
        (ports.XDS, "control plane", "xDS and host stream; mutual TLS, no exception"),
        (ports.ENROLMENT, "control plane", "enrolment; HTTPS without client certificate"),
        (ports.CONTROL_PLANE_METRICS, "control plane, loopback", "/metrics, /healthz, /readyz"),
    ]  # fmt: skip
    table = "".join(f"| {port} | {where} | {what} |\n" for port, where, what in rows)
    return (
        f"# Ports\n\n{_NOTE}Envoy's admin, the agent's control and the operator API are unix "
        f"sockets. Everything else:\n\n| port | where | for |\n|---|---|---|\n{table}"
    )


def _commands() -> str:
    parts = [f"# Command lines\n\n{_NOTE}"]
    for name, command in (
        ("hostmesh", operator_cli.main),
        ("hostmesh-agent", agent_cli.main),
        ("hostmesh-controlplane", controlplane_cli.commands),
    ):
        parts += _help(name, command)
    return "\n".join(parts) + "\n"


def _help(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH)
    yield f"## {name}\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None, f"{name} {sub}"
            yield from _help(f"{name} {sub}", found)


def write() -> None:
    """Write every page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    write()
