"""How many ways there are, so that nobody takes them away unseen."""

import ast
from pathlib import Path

FOLDER = Path(__file__).parent


def _attempts(file: Path) -> int:
    """Count each row of a table once, and each test without a table once."""
    count = 0
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            rows = [
                one
                for decorator in node.decorator_list
                for one in ast.walk(decorator)
                if isinstance(one, ast.Call) and ast.unparse(one.func) == "pytest.param"
            ]
            count += len(rows) or 1
    return count


def test_there_are_at_least_forty_ways() -> None:
    files = [FOLDER / "test_registrations.py", FOLDER / "test_certificates.py"]
    assert sum(_attempts(file) for file in files) >= 40
