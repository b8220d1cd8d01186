"""Each file of logic and core has its own test file, in the same place under tests/."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MIRRORED = {
    "core/hostmesh_core": "tests/core",
    "agent/hostmesh_agent/logic": "tests/agent/logic",
    "controlplane/hostmesh_controlplane/logic": "tests/controlplane/logic",
}


def _has_behaviour(file: Path) -> bool:
    """A file of names and values alone has nothing that a test of its own could show."""
    tree = ast.parse(file.read_text())
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))


def _pairs() -> list[tuple[Path, Path]]:
    pairs = []
    for source, tests in MIRRORED.items():
        for file in sorted((ROOT / source).rglob("*.py")):
            inside = file.relative_to(ROOT / source)
            if "_pb" not in inside.parts and file.name != "__init__.py" and _has_behaviour(file):
                pairs.append((file, ROOT / tests / inside.parent / f"test_{file.name}"))
    return pairs


@pytest.mark.parametrize(
    ("file", "test"),
    [pytest.param(file, test, id=str(file.relative_to(ROOT))) for file, test in _pairs()],
)
def test_it_has_a_test_file(file: Path, test: Path) -> None:
    assert test.exists(), f"{file.relative_to(ROOT)} MUST have {test.relative_to(ROOT)}"


def test_the_check_sees_the_folders_it_is_for() -> None:
    for source in MIRRORED:
        assert any(file.is_relative_to(ROOT / source) for file, _ in _pairs()), source
