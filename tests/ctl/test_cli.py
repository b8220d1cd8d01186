import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from hostmesh_ctl import commands_hosts
from hostmesh_ctl.cli import main

ANSWERS: dict[str, tuple[int, object]] = {
    "/v1/endpoints/reviews": (
        200,
        [
            {
                "endpoint": "10.77.0.3:9080",
                "port": 9080,
                "health": "healthy",
                "source": "static+registered",
                "meshed_text": "yes",
                "identity": "default/reviews",
                "weight": 1,
                "why": "",
            }
        ],
    ),
    "/v1/services": (200, []),
    "/v1/services/web/require-mesh": (409, {"error": "cannot require the mesh of web: 2 healthy"}),
    "/v1/tokens": (
        200,
        {"token": "hm1.id.secret.pin", "id": "id", "covers": "default/web", "uses": 1},
    ),
}


class _Fake(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body = ANSWERS.get(self.path, (404, {"error": "cannot find " + self.path}))
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = _answer  # noqa: N815 (the base class names them)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextmanager
def _api(path: Path) -> Iterator[None]:
    server = ThreadingUnixStreamServer(str(path), _Fake)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _run(tmp_path: Path, *argv: str) -> Result:
    with _api(tmp_path / "api.sock"):
        return CliRunner().invoke(main, ["--api", str(tmp_path / "api.sock"), *argv])


def test_a_table_for_people(tmp_path: Path) -> None:
    result = _run(tmp_path, "endpoints", "reviews")
    assert result.exit_code == 0
    head, row = result.stdout.splitlines()
    named = ["ENDPOINT", "PORT", "HEALTH", "SOURCE", "ORIGIN", "SINCE", "MESHED"]
    assert head.split()[:7] == named
    shown = ["10.77.0.3:9080", "9080", "healthy", "static+registered", "-", "-", "yes"]
    assert row.split()[:7] == shown


@pytest.mark.parametrize("where", ["before", "after"])
def test_json_for_machines_wherever_the_option_stands(tmp_path: Path, where: str) -> None:
    option, command = ["--output", "json"], ["endpoints", "reviews"]
    argv = [*option, *command] if where == "before" else [*command, *option]
    assert json.loads(_run(tmp_path, *argv).stdout) == ANSWERS["/v1/endpoints/reviews"][1]


def test_nothing_there_names_the_next_command(tmp_path: Path) -> None:
    assert "hostmesh sources" in _run(tmp_path, "services").stdout


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        pytest.param(["service", "require-mesh", "web"], 1, "2 healthy", id="refused is 1"),
        pytest.param(["endpoints", "nothing"], 2, "cannot find", id="an unknown name is 2"),
        pytest.param(["host", "grant", "h"], 2, "--help", id="a grant without a change is 2"),
        pytest.param(["token", "create", "--ttl", "1y"], 2, "as in 1h", id="a bad duration is 2"),
        pytest.param(["no-such-verb"], 2, "No such command", id="an unknown verb is 2"),
    ],
)
def test_errors_are_one_sentence(tmp_path: Path, argv: list[str], status: int, said: str) -> None:
    result = _run(tmp_path, *argv)
    assert result.exit_code == status
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_token_goes_to_stdout_and_its_story_to_stderr(tmp_path: Path) -> None:
    result = _run(tmp_path, "token", "create", "--service", "web")
    assert result.stdout == "hm1.id.secret.pin\n"
    assert "secret" not in result.stderr


def test_a_token_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    target = tmp_path / "web.token"
    target.write_text("an older one, readable by all")
    target.chmod(0o644)
    result = _run(tmp_path, "token", "create", "--service", "web", "--out", str(target))
    assert result.exit_code == 0
    assert target.read_text() == "hm1.id.secret.pin\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "secret" not in result.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("90s", 90.0, id="seconds"),
        pytest.param("1.5h", 5400.0, id="a fraction"),
        pytest.param("2d", 172800.0, id="days"),
    ],
)
def test_durations(text: str, expected: float) -> None:
    assert commands_hosts.seconds(text) == expected
