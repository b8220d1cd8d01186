from pathlib import Path

import pytest

from hostmesh_testing import golden as golden_files


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> golden_files.type_golden:
    folder = Path(request.path).parent / "golden"
    update = bool(request.config.getoption("--update-golden"))
    return lambda name, actual: golden_files.check(folder / name, actual, update=update)


@pytest.fixture(autouse=True)
def _no_real_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if {"process", "lab"} & set(request.keywords):
        return

    def refuse(*args: object, **_: object) -> None:
        raise RealProcess(f"a unit test started {args!r}")

    monkeypatch.setattr("subprocess.Popen", refuse)
    monkeypatch.setattr("asyncio.create_subprocess_exec", refuse)


class RealProcess(BaseException):
    """Not an Exception, so that no `except Exception` hides it."""
