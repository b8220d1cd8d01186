import asyncio
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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


@contextmanager
def _answering(path: Path, *pieces: bytes, again: float = 0.0) -> Iterator[None]:
    """Serve one caller with these bytes; with `again` the last of them for ever."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            for piece in pieces:
                connection.sendall(piece)
            while again:
                time.sleep(again)
                connection.sendall(pieces[-1])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(10)
        server.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"no json\n", id="no JSON"),
        pytest.param(b"[1]\n", id="no object"),
        pytest.param(b"{}\n", id="nothing in it"),
        pytest.param(b'{"progress": 7}\n', id="progress that is no text"),
        pytest.param(b'{"result": 1', id="half a line"),
        pytest.param(b"\xff\n", id="no text"),
    ],
)
def test_an_answer_that_is_none_is_a_sentence(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "agent.sock"
    with (
        _answering(path, answer),
        pytest.raises(control.ControlUnreachable, match=r"^cannot (understand|read) the"),
    ):
        control.call(str(path), "status", timeout=5, progress=print)


@pytest.mark.parametrize(
    "piece", [pytest.param(b'{"progress": "x"}\n', id="lines"), pytest.param(b"x", id="one line")]
)
def test_an_answer_that_never_ends_is_not_waited_for(tmp_path: Path, piece: bytes) -> None:
    path = tmp_path / "agent.sock"
    with (
        _answering(path, piece, again=0.01),
        pytest.raises(control.ControlUnreachable, match="within"),
    ):
        control.call(str(path), "leave", timeout=0.1, progress=lambda _: None)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_another_s_socket_is_told_nothing(tmp_path: Path) -> None:
    """The agent's user owns its folder: a link there must not make root talk to another program."""
    (tmp_path / "control").mkdir()
    os.chown(tmp_path / "control", 64010, 64010)
    heard: list[str] = []
    link = tmp_path / "control" / "agent.sock"
    link.symlink_to(tmp_path / "root.sock")
    with (
        _answering(tmp_path / "root.sock", b'{"progress": "heard"}\n', b'{"result": 1}\n'),
        pytest.raises(control.ControlUnreachable, match="uid 0 serves it, the agent is uid 64010"),
    ):
        control.call(str(link), "leave", timeout=5, progress=heard.append)
    assert heard == []
