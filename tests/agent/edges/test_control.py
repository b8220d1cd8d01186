import asyncio
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from hostmesh_agent.edges import control
from hostmesh_core.errors import Refused


async def _echo(request: Mapping[str, object], progress: control.Progress) -> object:
    progress("half")
    return {"got": request["x"]}


async def _fail(_: Mapping[str, object], progress: control.Progress) -> object:
    del progress
    raise Refused("cannot reload: agent.yaml:3 is wrong")


HANDLERS: Mapping[str, control.Handler] = {"echo": _echo, "fail": _fail}


def _call(path: Path, verb: str, heard: list[str]) -> object:
    async def run() -> object:
        async with control.serve(str(path), HANDLERS):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            return await asyncio.to_thread(
                lambda: control.call(str(path), verb, timeout=5, progress=heard.append, x=7)
            )

    return asyncio.run(run())


def test_progress_comes_before_the_result(tmp_path: Path) -> None:
    heard: list[str] = []
    assert _call(tmp_path / "agent.sock", "echo", heard) == {"got": 7}
    assert heard == ["half"]


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        pytest.param("fail", "agent.yaml:3", id="a refusal keeps its sentence"),
        pytest.param("explode", "echo, fail", id="an unknown verb is told the known ones"),
    ],
)
def test_errors_are_answers(tmp_path: Path, verb: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        _call(tmp_path / "agent.sock", verb, [])


def test_no_agent_names_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(control.ControlUnreachable, match="run --all"):
        control.call(str(tmp_path / "none.sock"), "status", timeout=1, progress=print)


@pytest.mark.process
@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_another_user_is_not_answered_even_where_the_file_lets_him() -> None:
    folder = tempfile.TemporaryDirectory()  # pytest's own folders are closed to others
    Path(folder.name).chmod(0o755)
    path = Path(folder.name) / "agent.sock"
    script = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        's.connect(sys.argv[1]); s.sendall(b\'{"do": "echo", "x": 1}\\n\'); print(s.recv(500))'
    )

    async def run() -> str:
        async with control.serve(str(path), HANDLERS):
            path.chmod(0o666)
            outcome = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-I", "-c", script, str(path)],
                capture_output=True,
                text=True,
                check=True,
            )
            return str(outcome.stdout)

    with folder:
        assert "cannot answer this user" in asyncio.run(run())
