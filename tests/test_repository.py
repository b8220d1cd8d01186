"""What holds for the whole tree: sizes, names, words that must not be in it, make help."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("agent", "benchmarks", "controlplane", "core", "docs", "tests", "tools", ".ci")
LINES = 400
FUNCTION_LINES = 50
VAGUE = {"utils.py", "helpers.py", "common.py", "misc.py", "util.py"}
# Written in halves, so that this file is no hit itself.
REGISTRIES = [
    "py" "pi.org", "python" "hosted.org", "debian" ".org/debian", "npm" "js.org", "ghcr" ".io",
    "docker" ".io", "quay" ".io", "golang" ".org", "crates" ".io",
]  # fmt: skip
UNFINISHED = re.compile(
    r"\b({})\b".format("|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"]))
)
UNMERGED = re.compile(r"^(<{7} |>{7} |={7}$)", re.MULTILINE)
MACHINE_PATH = "/{}/".format("work")


def _files(*suffixes: str) -> Iterator[Path]:
    roots = [path for path in ROOT.iterdir() if path.is_file()]
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    for path in sorted([*roots, *inside]):
        # In a second checkout .git is a file of git's own that names the first one.
        skipped = {"__pycache__", ".hypothesis", ".git"} & set(path.parts)
        if path.is_file() and not skipped and (not suffixes or path.suffix in suffixes):
            yield path


def _python() -> list[Path]:
    return [path for path in _files(".py") if "_pb" not in path.parts]


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _text(path: Path) -> str:
    return path.read_text(errors="replace")


def test_no_file_is_too_long() -> None:
    long = {_named(path): len(_text(path).splitlines()) for path in _python()}
    assert {name: lines for name, lines in long.items() if lines >= LINES} == {}


def test_no_function_is_too_long() -> None:
    long = []
    for path in _python():
        for node in ast.walk(ast.parse(_text(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES and "tests" not in path.parts:
                    long.append(f"{_named(path)}: {node.name} has {lines} lines")
    assert long == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [_named(path) for path in _python() if path.name in VAGUE] == []


@pytest.mark.parametrize("host", REGISTRIES)
def test_no_registry_is_named(host: str) -> None:
    assert [_named(path) for path in _files() if host in _text(path)] == []


def test_nothing_is_left_for_another_day() -> None:
    hits = [
        _named(path) for path in _files(".py", ".md", ".proto") if UNFINISHED.search(_text(path))
    ]
    assert hits == []


def test_no_merge_is_half_done() -> None:
    assert [_named(path) for path in _files() if UNMERGED.search(_text(path))] == []


def test_no_path_of_somebodys_machine_is_in_it() -> None:
    assert [_named(path) for path in _files() if MACHINE_PATH in _text(path)] == []


def test_make_help_lists_every_target() -> None:
    makefile = _text(ROOT / "Makefile")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    documented = set(re.findall(r"^([a-z][a-z-]*):.*## \S", makefile, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets == documented == set(phony.split())


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "LICENSE"])
def test_a_new_reader_finds(name: str) -> None:
    assert len(_text(ROOT / name)) > 1000


def test_the_licence_is_apache() -> None:
    assert "Apache License" in _text(ROOT / "LICENSE")


def test_the_demo_uses_the_agent_yaml_of_the_readme() -> None:
    block = re.search(
        r"<!-- agent.yaml -->\n```yaml\n(.*?)```", _text(ROOT / "README.md"), re.DOTALL
    )
    assert block is not None
    assert _text(ROOT / "controlplane/hostmesh_ctl/demo/agent.yaml") == block[1]


@pytest.mark.parametrize("name", [".ci/run", "tools/setup", "tools/demo", "tools/install"])
def test_scripts_stop_at_the_first_error_and_can_be_run(name: str) -> None:
    path = ROOT / name
    assert "set -euo pipefail" in _text(path)
    assert path.stat().st_mode & 0o111 == 0o111
